// The history by text and by state.

import { assert, given, signedIn } from "./browser.mjs";

signedIn(async (page) => {
    const found = () => page.locator(".session-row").evaluateAll((rows) => rows.map(({ dataset }) => dataset.session));
    await page.getByRole("link", { name: "History" }).click();
    await page.waitForURL("**/history");
    assert.equal((await found()).length, 4);
    assert.equal(await page.locator("h2 time").count(), 1, "by day");

    await page.getByLabel("Search").fill("NEEDLE");
    await page.keyboard.press("Enter");
    await page.waitForURL("**q=NEEDLE*");
    assert.deepEqual(await found(), [given.done]);
    assert.equal(await page.getByLabel("Search").inputValue(), "NEEDLE");

    await page.getByLabel("Search").fill("");
    await page.getByLabel("State").selectOption("failed");
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForURL("**state=failed*");
    assert.deepEqual(await found(), [given.ended]);

    await page.getByLabel("Search").fill("no such words");
    await page.keyboard.press("Enter");
    await page.getByText("No matches.").waitFor();
    assert.deepEqual(await found(), []);
});
