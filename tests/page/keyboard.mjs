// From the list to an answer without a mouse.

import { assert, given, signedIn, stands } from "./browser.mjs";

const STOPS_MAX = 80;

/** What has the focus, and whether that can be seen. */
function focused() {
    const element = document.activeElement;
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
    const { width, height, bottom, top } = element.getBoundingClientRect();
    return {
        text: (element.innerText || element.ariaLabel || element.name || element.id || "").trim(),
        tag: element.tagName,
        href: element.getAttribute("href"),
        isMarked: (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none",
        isSeen: width > 0 && height > 0 && bottom > 0 && top < innerHeight,
    };
}

/** Presses Tab until something that `fits` has the focus. */
async function tabTo(page, what, fits) {
    const seen = [];
    while (seen.length < STOPS_MAX) {
        await page.keyboard.press("Tab");
        const stop = await page.evaluate(focused);
        assert(stop.tag === "BODY" || (stop.isMarked && stop.isSeen), `the focus is not seen: ${JSON.stringify(stop)}`);
        if (fits(stop)) return seen;
        seen.push(stop);
    }
    assert.fail(`Tab never comes to ${what}: ${JSON.stringify(seen)}`);
}

signedIn(async (page) => {
    await page.locator(".session-row").first().waitFor();
    const isSkipLink = ({ text }) => text === "Skip to the content";
    assert.deepEqual(await tabTo(page, "the skip link", isSkipLink), [], "it comes first");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    const address = `/execution/${given.allowing}`;
    await tabTo(page, "the session", ({ href }) => href === address);
    await page.keyboard.press("Enter");
    await page.waitForURL(`**${address}`);
    await stands(page, "awaiting_input");

    await tabTo(page, "the session's page", isSkipLink);
    await tabTo(page, "Cancel", ({ text }) => text === "Cancel");
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    assert.equal((await page.evaluate(focused)).text, "Cancel", "the focus comes back from a dialog");
    await tabTo(page, "Allow", ({ text }) => text === "Allow");
    await page.keyboard.press("Enter");
    await stands(page, "completed");
    assert.notEqual(await page.evaluate(() => document.activeElement.tagName), "BODY", "the focus is not lost");
});
