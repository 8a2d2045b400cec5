// The daemon dies and comes back while the page is open and the agent goes on writing.

import { assert, connected, given, missesNothing, openSession } from "./browser.mjs";
import { reach, says, shown, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session);
    await page.evaluate(() => (window.isSame = true));
    await reach("open");
    await shown(page, 40);
    await reach("watching");
    await connected(page, "lost");
    assert((await page.locator("#connection").innerText()).includes("lost"), "it is said in words");
    await reach("lost");
    await connected(page, "live");
    await reach("back");
    await says(page, "over");
    await stands(page, "completed");
    await connected(page, "ended");
    await missesNothing(page, given.session);
    assert(await page.evaluate(() => window.isSame), "the page was never loaded again");
});
