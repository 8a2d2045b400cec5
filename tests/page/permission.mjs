// Two permissions on the session's page: one allowed, one denied with a reason.

import { assert, given, missesNothing, openSession, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session);
    await stands(page, "awaiting_input");
    const asked = page.locator("#questions .question .command");
    assert.equal((await asked.innerText()).trim(), given.command, "all of it is there");
    const box = await asked.evaluate(({ scrollHeight, clientHeight, scrollWidth, clientWidth }) => ({
        isCutBelow: scrollHeight > clientHeight + 1,
        isCutBeside: scrollWidth > clientWidth + 1,
    }));
    assert.deepEqual(box, { isCutBelow: false, isCutBeside: false }, "all of it is seen without scrolling in it");
    assert((await page.title()).startsWith("(1)"), "the title says that somebody is waited for");
    const grants = page.getByRole("group", { name: "for the rest of this session" }).getByRole("checkbox");
    assert.deepEqual(await grants.evaluateAll((boxes) => boxes.map(({ checked }) => checked)), [false, false]);
    await page.getByLabel("switch to the permission mode acceptEdits").check();
    await page.getByRole("button", { name: "Allow" }).click();

    await page.locator("#questions .command", { hasText: "rm -r everything" }).waitFor();
    await page.getByLabel("If you deny: what to do instead").fill("ask me first");
    await page.getByRole("button", { name: "Deny" }).click();
    await stands(page, "completed");
    await page.locator("#questions").waitFor({ state: "hidden" });
    await missesNothing(page, given.session);
});
