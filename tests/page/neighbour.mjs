// The browser visits another server of this machine; where the page shares its name, the page goes on all the same.

import { assert, given, origin, reach, signedIn } from "./browser.mjs";

signedIn(async (page, { context }) => {
    for (const name of ["127.0.0.1", "localhost"]) {
        await reach(`visiting ${name}`);
        const visit = await context.newPage();
        await visit.goto(`http://${name}:${given.port}/visited`);
        const seen = await visit.evaluate(() => localStorage.length);
        assert.equal(seen, 0, "the page's own storage is of its port");
        await visit.close();
    }
    const kept = await page.evaluate(() => localStorage.getItem("page-secret"));
    assert.equal(Boolean(kept), Boolean(given.shared));
    if (!given.shared) return;
    assert(!(await page.content()).includes(kept), "it stands in no page that a cookie opens");

    // In another tab, and after a token was typed, the page changes things too.
    const tab = await context.newPage();
    await tab.goto(`${origin}/`);
    await tab.evaluate(() => localStorage.clear());
    const form = tab.locator("#start-form");
    await form.getByLabel("Task", { exact: true }).fill("say hello");
    await form.locator("summary").click();
    await form.getByLabel("Directory").fill(given.cwd);
    await form.getByRole("button", { name: "Start" }).click();
    await form.getByRole("alert").filter({ hasText: "sign in in another tab" }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("alert").filter({ hasText: "sign in in another tab" }).waitFor();
    await context.clearCookies();
    await page.goto("/");
    await page.getByLabel("sign in with a token").fill(given.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Start a run" }).waitFor();
    await form.getByRole("button", { name: "Start" }).click();
    await tab.waitForURL(/\/execution\//);
});
