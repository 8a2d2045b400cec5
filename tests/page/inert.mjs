// What an agent writes is text, wherever it is shown.

import { assert, given, openSession, shown, signedIn, stands } from "./browser.mjs";

/** What of a page could act though it is none of ours. */
function alien() {
    const ours = ["IMG", "SCRIPT"];
    const found = [];
    for (const element of document.querySelectorAll("*")) {
        for (const { name, value } of element.attributes) {
            if (name.startsWith("on") || name === "style") found.push(`${element.tagName} ${name}`);
            const isAddress = ["href", "src", "action", "formaction"].includes(name);
            if (isAddress && /^\s*javascript:/i.test(value)) found.push(value);
        }
        const address = element.getAttribute("src") ?? "";
        if (ours.includes(element.tagName) && !address.startsWith("/assets/")) found.push(element.outerHTML);
        if (["IFRAME", "OBJECT", "EMBED", "BASE"].includes(element.tagName)) found.push(element.outerHTML);
    }
    return found;
}

signedIn(async (page) => {
    const isInert = async () => assert.deepEqual(await page.evaluate(alien), []);
    await page.locator(".session-row").nth(2).waitFor();
    assert(await page.locator(".session-row .name").last().innerText() === given.name, "a name is shown as it is");
    await isInert();

    await page.goto("/history?q=%3Cscript%3E");
    await page.locator(".session-row").first().waitFor();
    await isInert();

    await openSession(page, given.ended, "ended");
    await stands(page, "failed");
    await shown(page, Number(await page.locator("#head").getAttribute("data-head")));
    await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    assert.equal(await page.locator("#records strong").first().innerText(), "bold", "Markdown is rendered");
    await isInert();

    await openSession(page, given.asking);
    const question = page.locator(".question legend");
    await question.waitFor();
    assert((await question.innerText()).includes(given.attack));
    await isInert();

    await openSession(page, given.allowing);
    const command = page.locator(".question .command");
    await command.waitFor();
    assert.equal((await command.innerText()).trim(), `true '${given.attack}'`, "what would run is shown as it is");
    await isInert();
});
