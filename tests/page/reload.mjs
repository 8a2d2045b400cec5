// Reloads while the session is written.

import { connected, given, isThrough, missesNothing, openSession, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session);
    for (const seq of [30, 80, 120]) {
        await isThrough(page, seq);
        await page.reload();
    }
    await connected(page, "ended");
    await stands(page, "completed");
    await missesNothing(page, given.session);
});
