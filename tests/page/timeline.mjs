// A long session's timeline: the reader goes back through the turns and tool calls that the whole leaves out.

import { assert, given, openSession, signedIn } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session, "ended");
    const timeline = page.locator("#timeline-picture");
    const told = () => timeline.locator(".stretches span").innerText();
    const drawn = () => timeline.locator("svg").getAttribute("aria-label");
    const go = async (name, then) => {
        await timeline.getByRole("button", { name }).click();
        await timeline.locator(then).waitFor();
    };
    await timeline.locator("svg").waitFor();
    assert.match(await told(), /before record \d+ are left out/);
    // It came after the transcript, which became shorter by it and still shows its end.
    const end = page.locator("#end");
    await page.waitForFunction((end) => end.getBoundingClientRect().bottom <= innerHeight + 1, await end.elementHandle());
    const calls = async () => Number(/(\d+) tool calls?/.exec(await drawn())[1]);
    const counts = [await calls()];
    let stretch = await timeline.locator("[data-before]").last().getAttribute("data-before");
    while (await timeline.getByRole("button", { name: "Earlier" }).count()) {
        await go("Earlier", `.timeline[data-before="${stretch}"]`);
        assert.match(await told(), new RegExp(`to ${stretch - 1}$`));
        counts.push(await calls());
        stretch = await timeline.locator("button[data-before]").evaluateAll((all) => all[0]?.dataset.before);
    }
    assert.match(await told(), /^Records 1 to/, "the beginning is reached");
    assert.equal(counts.length, 3);
    assert.equal(counts.reduce((sum, count) => sum + count), given.calls, "every call is in one stretch");
    assert(await page.evaluate(() => document.activeElement.matches("[data-stretch]")), "the keyboard stays there");
    const first = await told();
    await go("Later", ".stretches:has([data-stretch=earlier])");
    assert.notEqual(await told(), first);
    await go("The whole session", ".timeline:not([data-before])");
    assert.equal(await calls(), counts[0]);
});
