// Resume from here and fork from here, by the controls of a checkpoint in the transcript.

import { assert, connected, given, missesNothing, openSession, says, signedIn, stands } from "./browser.mjs";

signedIn(async (page) => {
    await openSession(page, given.session, "ended");
    await stands(page, "failed");
    const checkpoint = page.locator("#records .checkpoint").last();
    const seq = await checkpoint.getAttribute("data-seq");
    await checkpoint.getByRole("button", { name: "Resume from here" }).click();
    const resume = page.getByRole("dialog", { name: "Resume from a checkpoint" });
    await resume.getByText(`From the checkpoint at record ${seq}.`).waitFor();
    await resume.getByLabel("What to do").fill("say resumed");
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
