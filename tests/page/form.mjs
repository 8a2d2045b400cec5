// A form of an MCP server: what does not fit is said beside it, and what fits goes to the server.

import { given, openSession, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session);
    await stands(page, "awaiting_input");
    const form = page.locator("#questions .question");
    await form.getByText("Who shall sign?").waitFor();
    const submit = form.getByRole("button", { name: "Send" });
    await submit.click();
    await form.getByText("Needed: Name").waitFor();
    await form.getByLabel("Name").fill("Bob");
    await form.getByLabel("Age").fill("-7");
    await submit.click();
    await form.getByRole("alert").filter({ hasText: "age: -7 is less than the minimum" }).waitFor();
    await form.getByLabel("Age").fill("47");
    await form.getByLabel("Size").selectOption("L");
    await form.getByLabel("Again").check();
    await submit.click();
    await stands(page, "completed");
    await page.locator("#questions").waitFor({ state: "hidden" });
});
