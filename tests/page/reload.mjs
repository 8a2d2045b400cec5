// Reloads while the session is written.

import { connected, given, isThrough, missesNothing, openSession, reach, says, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session);
    await reach("open");
    for (const seq of [20, 60, 100]) {
        await isThrough(page, seq);
        await page.reload();
    }
    await connected(page, "live");
    await reach("reloaded");
    await says(page, "over");
    await connected(page, "ended");
    await stands(page, "completed");
    await missesNothing(page, given.session);
});
