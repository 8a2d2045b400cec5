// The secret that a page sends with each change where its address is not its own.

const KEY = "page-secret";

export function keepSecret(secret) {
    localStorage.setItem(KEY, secret);
}

/** The secret; nothing where none was given, or where the browser keeps nothing. */
export function secret() {
    try {
        return localStorage.getItem(KEY);
    } catch {
        return null;
    }
}
