// What every page needs: calls to the daemon, times in the reader's zone, words for screen readers.

import { secret } from "./secret.js";

/** An answer that is a refusal, with the sentence of its problem document. */
export class Refused extends Error {
    constructor(status, problem) {
        super(problem.detail || problem.title || `The daemon answered ${status}.`);
        this.status = status;
        this.code = problem.code || "";
    }
}

export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

const csrf = () => one('meta[name="csrf-token"]')?.content;

/** Calls the API; answers JSON, or throws a Refused. Somebody who signed in again meanwhile has another CSRF token. */
export async function call(method, path, body, headers = {}) {
    try {
        return await send(method, path, body, headers);
    } catch (error) {
        if (error.code !== "csrf" || !(await renewCsrf())) throw error;
        return send(method, path, body, headers);
    }
}

async function renewCsrf() {
    const response = await reach("/", { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = one('meta[name="csrf-token"]', page)?.content;
    const known = one('meta[name="csrf-token"]');
    if (!fresh || !known || fresh === known.content) return false;
    known.content = fresh;
    return true;
}

async function send(method, path, body, headers) {
    const sent = { ...headers };
    if (csrf()) sent["X-CSRF-Token"] = csrf();
    if (secret()) sent["X-Page-Secret"] = secret();
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const response = await reach(path, { method, headers: sent, body: body && JSON.stringify(body) });
    return response.status === 204 ? null : response.json();
}

/** Fetches a part of a page as one element. */
export async function part(path) {
    const response = await reach(path, { headers: { Accept: "text/html" } });
    const template = document.createElement("template");
    template.innerHTML = await response.text();
    localise(template.content);
    return template.content.firstElementChild;
}

async function reach(path, options) {
    let response;
    try {
        const headers = { "X-CC-Executor-Client": "page", ...options.headers };
        response = await fetch(path, { cache: "no-store", ...options, headers });
    } catch {
        throw new Refused(0, { detail: "The daemon does not answer. What you typed is still here: try again." });
    }
    if (response.ok) return response;
    if (response.status === 401) connection("signed-out");
    const isProblem = response.headers.get("Content-Type")?.includes("json");
    const problem = isProblem ? await response.json().catch(() => ({})) : {};
    throw new Refused(response.status, problem);
}

/** Says something to those who do not see the page change. */
export function announce(text) {
    one("#announcer").textContent = text;
}

const CONNECTION = {
    idle: "",
    connecting: "Connecting…",
    live: "Live",
    lost: "Connection lost, trying again…",
    ended: "Ended",
    asleep: "Asleep",
    "signed-out": "Signed out.",
};

/** Shows how the page stands to the daemon. */
export function connection(state) {
    const shown = one("#connection");
    if (!shown || shown.dataset.connection === state) return;
    // Who is signed out is not told that it is the connection.
    if (shown.dataset.connection === "signed-out" && (state === "lost" || state === "connecting")) return;
    shown.dataset.connection = document.body.dataset.connection = state;
    one(".words", shown).textContent = CONNECTION[state];
    one("a", shown).hidden = state !== "signed-out";
}

/** Whether nothing is answered until somebody signs in again. */
export const isSignedOut = () => document.body.dataset.connection === "signed-out";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

/** Shows times in the reader's own zone. */
export function localise(root = document) {
    for (const time of root.querySelectorAll("time[data-form]")) show(time);
}

function show(time) {
    const form = time.dataset.form;
    // A day without a time is that day everywhere.
    const at = new Date(form === "day" ? `${time.dateTime}T12:00:00` : time.dateTime);
    if (Number.isNaN(at.getTime())) return;
    if (form === "day") time.textContent = DAY.format(at);
    if (form === "clock") time.textContent = CLOCK.format(at);
    if (form === "date") time.textContent = DATE.format(at);
    if (form === "ago") time.textContent = ago(at);
    if (form === "left") time.textContent = left(at);
    if (form === "worked") time.textContent = duration((Date.now() - at) / 1000);
    if (form !== "day" && form !== "worked" && !time.title) time.title = FULL.format(at);
}

const LENGTHS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** `1 h 2 min`: the two largest units, as the daemon writes a duration. */
export function duration(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const found = LENGTHS.findIndex(([, length]) => whole >= length);
    const large = found < 0 ? LENGTHS.length - 1 : found;
    const [unit, length] = LENGTHS[large];
    const [small, part] = LENGTHS[large + 1] ?? [unit, length];
    const rest = Math.floor((whole % length) / part);
    return `${Math.floor(whole / length)} ${unit}` + (rest > 0 ? ` ${rest} ${small}` : "");
}

function left(at) {
    const seconds = (at - Date.now()) / 1000;
    return seconds > 0 ? `${DATE.format(at)}, in ${duration(seconds)}` : DATE.format(at);
}

function ago(at) {
    const seconds = (at - Date.now()) / 1000;
    const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
    if (!unit) return "just now";
    if (unit[0] === "day" && Math.abs(seconds) > 7 * 86400) return DATE.format(at);
    return AGO.format(Math.round(seconds / unit[1]), unit[0]);
}

/** Puts a new version of an element in place, if it differs; what had the focus keeps it. */
export function swap(now, next) {
    const text = next.outerHTML;
    if (shownText.get(now) === text) return now;
    const focus = now.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    shownText.set(next, text);
    now.replaceWith(next);
    if (focus) one(focus, next)?.focus({ preventScroll: true });
    return next;
}

/** What each element was made from: the element itself may have been changed since. */
const shownText = new WeakMap();

function nameOf(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const attribute = [...element.attributes].find(({ name }) => name.startsWith("data-") || name === "href");
    return attribute ? `[${attribute.name}="${CSS.escape(attribute.value)}"]` : null;
}

/** Brings the cards of open questions up to date; a form that somebody fills in is never replaced. */
export function mergeQuestions(section, next) {
    const list = one("#question-list", section);
    const before = new Map(all(".question", list).map((card) => [card.id, card]));
    const added = [];
    for (const card of all(".question", next)) {
        const known = before.get(card.id);
        before.delete(card.id);
        if (known && (known.dataset.status === card.dataset.status || holdsInput(known, card))) continue;
        if (known) known.replaceWith(card);
        else {
            list.append(card);
            added.push(card);
        }
    }
    for (const gone of before.values()) remove(gone);
    section.hidden = !one(".question", list);
    for (const card of added) announce(`A question: ${one("h3", card).textContent}`);
    return added;
}

/** Only the sentence about where a question stands changes while its form goes on being filled in. */
function holdsInput(known, card) {
    if (!one("form", card)) return false;
    known.dataset.status = card.dataset.status;
    const status = one(".status", known);
    status.textContent = one(".status", card).textContent;
    status.hidden = !status.textContent;
    return true;
}

function remove(card) {
    const hadFocus = card.contains(document.activeElement);
    card.remove();
    if (hadFocus) one("main").focus({ preventScroll: true });
}

/** Calls `work` soon, at most once in `period` milliseconds, and never twice at a time. */
export function throttled(work, period) {
    let timer = null;
    let last = 0;
    let again = false;
    let running = false;
    const run = async () => {
        timer = null;
        running = true;
        last = Date.now();
        try {
            await work();
        } catch (error) {
            if (!(error instanceof Refused)) throw error;
        } finally {
            running = false;
            if (again) {
                again = false;
                ask();
            }
        }
    };
    const ask = () => {
        if (running) again = true;
        else timer ??= setTimeout(run, Math.max(0, last + period - Date.now()));
    };
    return ask;
}

localise();
const MOVING = ["ago", "left", "worked"].map((form) => `time[data-form="${form}"]`).join();
setInterval(() => all(MOVING).forEach(show), 30_000);
