// The form: refused, with what was typed still there; then taken. Then the session is cancelled.

import { assert, connected, given, says, shown, signedIn, stands } from "./browser.mjs";

const TASK = "say begun ;; silence";

signedIn(async (page) => {
    const form = page.locator("#start-form");
    const start = form.getByRole("button", { name: "Start" });
    await form.getByLabel("Task", { exact: true }).fill(TASK);
    await form.locator("summary").click();
    await form.getByLabel("Name", { exact: true }).fill("by hand");
    for (const [cwd, why] of [["relative/path", "relative/path"], [`${given.cwd}/no-such-folder`, "no-such-folder"]]) {
        await form.getByLabel("Directory").fill(cwd);
        await start.click();
        const problem = form.getByRole("alert").filter({ hasText: why });
        await problem.waitFor();
        assert.equal(await form.getByLabel("Task", { exact: true }).inputValue(), TASK);
        assert.equal(await form.getByLabel("Directory").inputValue(), cwd);
    }
    await form.getByLabel("Directory").fill(given.cwd);
    await start.click();

    await page.waitForURL("**/execution/*");
    await connected(page, "live");
    await says(page, "begun");
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "by hand");
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Cancel this session?" });
    await dialog.getByRole("button", { name: "Keep it running" }).click();
    await dialog.waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await dialog.getByRole("button", { name: "Cancel the session" }).click();
    await stands(page, "cancelled");
    await connected(page, "ended");
    await shown(page, Number(await page.locator("#head").getAttribute("data-head")));
    assert.equal(await page.getByRole("button", { name: "Cancel", exact: true }).count(), 0);
});
