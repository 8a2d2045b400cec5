// At the width of a phone nothing hangs out, and a question is answered by touch.

import { assert, given, inBrowser, link, PHONE, openSession, stands } from "./browser.mjs";

/** Controls that are shown but cannot be seen whole from side to side. */
function outside() {
    const found = [];
    const { scrollWidth } = document.scrollingElement;
    if (scrollWidth > innerWidth) found.push(`the page is ${scrollWidth} wide`);
    for (const control of document.querySelectorAll("a, button, input, select, textarea, summary")) {
        if (!control.checkVisibility({ visibilityProperty: true }) || control.matches(".skip, .stamp")) continue;
        const { left, right, width, height } = control.getBoundingClientRect();
        if (width === 0 || height === 0 || left < -1 || right > innerWidth + 1) {
            found.push(`${control.outerHTML.slice(0, 200)}: ${left} to ${right}, ${height} high`);
        }
    }
    // A word that is broken in two is no word that somebody reads.
    for (const word of document.querySelectorAll(".banner nav a, .banner button")) {
        const range = document.createRange();
        range.selectNodeContents(word);
        const lines = range.getClientRects().length;
        if (lines !== 1) found.push(`${word.innerText} stands in ${lines} lines`);
    }
    return found;
}

inBrowser(async ({ context }) => {
    const page = await context.newPage();
    await page.setViewportSize(PHONE);
    await page.goto(link);
    const fits = async () => assert.deepEqual(await page.evaluate(outside), [], page.url());
    const sessions = [given.ended, given.asking, "no-such"].map((id) => `/execution/${id}`);
    for (const path of ["/", "/history", ...sessions]) {
        await page.goto(path);
        await fits();
        await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
        await fits();
    }
    await openSession(page, given.allowing);
    await stands(page, "awaiting_input");
    await fits();
    await page.getByRole("link", { name: "1 open question" }).click();
    await page.getByRole("button", { name: "Allow" }).click();
    await stands(page, "completed");
});
