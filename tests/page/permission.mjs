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
    const place = await page.evaluate(() => ({
        top: document.querySelector("#questions .question").getBoundingClientRect().top,
        view: document.querySelector("#transcript").getBoundingClientRect().top,
    }));
    assert(place.top >= place.view, `the page opens at the beginning of the question: ${JSON.stringify(place)}`);
    assert((await page.title()).startsWith("(1)"), "the title says that somebody is waited for");
    const grants = page.getByRole("group", { name: "for the rest of this session" }).getByRole("checkbox");
    assert.deepEqual(await grants.evaluateAll((boxes) => boxes.map(({ checked }) => checked)), [false, false]);
    await page.getByLabel("switch to the permission mode acceptEdits").check();
    await page.getByRole("button", { name: "Allow" }).click();

    await page.locator("#questions .command", { hasText: "rm -r everything" }).waitFor();
    await page.getByLabel("If you deny: what to do instead").fill("ask me first");

    // Who is signed out meanwhile is told what to do on the page, and answers with what was typed.
    await page.context().clearCookies();
    await page.getByRole("button", { name: "Deny" }).click();
    const problem = page.locator("#questions .problem");
    await problem.getByText("sign in in another tab").waitFor();
    assert(!(await problem.innerText()).includes("cc-executor"), await problem.innerText());
    const tab = await page.context().newPage();
    await tab.goto("/");
    await tab.getByLabel("sign in with a token").fill(given.token);
    await tab.getByRole("button", { name: "Sign in" }).click();
    await tab.getByRole("heading", { name: "Start a run" }).waitFor();
    await page.getByRole("button", { name: "Deny" }).click();
    await stands(page, "completed");
    await page.locator("#questions").waitFor({ state: "hidden" });
    await missesNothing(page, given.session);
});
