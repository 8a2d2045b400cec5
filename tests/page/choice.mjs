// Choices stand on top of the list of sessions, and are answered there.

import { assert, given, signedIn } from "./browser.mjs";

signedIn(async (page) => {
    const colour = page.getByRole("group", { name: "Which colour?" });
    await colour.waitFor();
    const top = (selector) => page.locator(selector).evaluate((element) => element.getBoundingClientRect().top);
    assert((await top("#questions")) < (await top("#live")), "questions stand on top");

    await page.getByRole("button", { name: "Answer" }).click();
    await page.getByText("Not answered yet: Which colour?").waitFor();
    await colour.getByLabel("green").check();
    await page.getByRole("button", { name: "Answer" }).click();

    const sizes = page.getByRole("group", { name: "Which sizes?" });
    await sizes.getByRole("checkbox", { name: /^s\b/ }).check();
    await sizes.getByRole("checkbox", { name: /^l\b/ }).check();
    await sizes.getByLabel("Something else").fill("huge");
    await page.getByRole("button", { name: "Answer" }).click();
    await page.locator(`.session-row[data-session="${given.session}"][data-state="completed"]`).waitFor();
    await page.locator("#questions").waitFor({ state: "hidden" });
});
