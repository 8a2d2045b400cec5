// Partial text is shown before its record; the record takes its place.

import { assert, given, missesNothing, openSession, reach, says, signedIn, stands } from "./browser.mjs";

/** Notes what is seen of texts, after each change of the page: what is being written, and what stands. */
function observe() {
    window.seen = { drafts: [], doubled: [] };
    const look = () => {
        for (const draft of document.querySelectorAll('.draft[data-part="text"]')) {
            const text = draft.querySelector(".text").textContent;
            if (text) window.seen.drafts.push({ key: `${draft.dataset.message} ${draft.dataset.block}`, text });
            const record = `#records [data-message="${draft.dataset.message}"][data-block="${draft.dataset.block}"]`;
            if (document.querySelector(record)) window.seen.doubled.push(draft.outerHTML);
        }
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}

signedIn(async (page) => {
    await openSession(page, given.session);
    await says(page, "begun");
    await page.evaluate(observe);
    await reach("watching");
    await says(page, "over");
    await stands(page, "completed");
    const { drafts, doubled } = await page.evaluate(() => window.seen);
    assert.deepEqual(doubled, [], "a text is shown as a draft or as a record");
    const [{ key }] = drafts;
    const written = drafts.filter((draft) => draft.key === key).map(({ text }) => text);
    const [message, block] = key.split(" ");
    const record = page.locator(`#records [data-message="${message}"][data-block="${block}"] .markdown`);
    const whole = (await record.innerText()).replaceAll(/\s+/g, " ");
    assert(new Set(written).size > 3, `it is seen to grow: ${written}`);
    for (const text of written) assert(whole.startsWith(text.trim().replaceAll(/\s+/g, " ")), `${text} of ${whole}`);
    await missesNothing(page, given.session);
});
