// Resume from here and fork from here, by the controls of a checkpoint in the transcript.

import { assert, connected, given, missesNothing, openSession, says, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session, "ended");
    await stands(page, "failed");
    // The script writes durations as the daemon does.
    const words = await page.evaluate(async () => {
        const { duration } = await import("/assets/common.js");
        return [0, 7, 60, 133, 3720, 3659, 90000].map(duration);
    });
    assert.deepEqual(words, ["0 s", "7 s", "1 min", "2 min 13 s", "1 h 2 min", "1 h", "1 d 1 h"]);
    const checkpoint = page.locator("#records .checkpoint").last();
    const seq = await checkpoint.getAttribute("data-seq");
    await checkpoint.getByRole("button", { name: "Resume from here" }).click();
    const resume = page.getByRole("dialog", { name: "Resume from a checkpoint" });
    await resume.getByText(`From the checkpoint at record ${seq}.`).waitFor();
    await resume.getByLabel("What to do").fill("say resumed");
    await resume.getByRole("button", { name: "Resume" }).click();
    // Nothing is left of its budget, which the refusal says in the words of the form.
    await resume.getByRole("alert").getByText("as “Maximum cost in all, USD”").waitFor();
    await resume.getByLabel("Maximum cost in all, USD").fill("2.5");
    await resume.getByLabel("Maximum turns from now on").fill("7");
    await resume.getByLabel("Maximum minutes from now on").fill("10");
    await resume.getByRole("button", { name: "Resume" }).click();
    await says(page, "resumed");
    await stands(page, "completed");
    await connected(page, "ended");
    await missesNothing(page, given.session);

    await page.locator("#records .checkpoint").last().getByRole("button", { name: "Fork from here" }).click();
    const fork = page.getByRole("dialog", { name: "Fork the session" });
    await fork.getByLabel("Name").fill("a copy");
    await fork.getByLabel("What to do").fill("say forked");
    await fork.getByRole("button", { name: "Fork" }).click();
    await page.waitForURL((url) => url.pathname.startsWith("/execution/") && !url.pathname.endsWith(given.session));
    await says(page, "forked");
    await stands(page, "completed");
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "a copy");
});
