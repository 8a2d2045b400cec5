// Twenty thousand records: the page begins at the end, fetches what is scrolled to, and drops what is far.

import { assert, given, isThrough, openSession, PHONE, says, shown, shownSeqs, signedIn } from "./browser.mjs";

// What the page may hold, far below what the session has.
const RECORDS_MAX = 1_000;
const ELEMENTS_MAX = 15_000;

const isInView = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
};

async function staysSmall(page) {
    const seqs = await shownSeqs(page);
    assert(seqs.length > 0 && seqs.length <= RECORDS_MAX, `${seqs.length} records`);
    const elements = await page.evaluate(() => document.querySelectorAll("*").length);
    assert(elements <= ELEMENTS_MAX, `${elements} elements`);
    const sorted = seqs.toSorted((one, other) => one - other);
    assert.deepEqual(sorted, sorted.map((_, place) => sorted[0] + place), "without gaps, nothing twice");
    return sorted;
}

const scrollTo = (page, place) =>
    page.evaluate((place) => {
        const section = document.querySelector("#transcript");
        section.scrollTop = place === "top" ? 0 : section.scrollHeight;
    }, place);

signedIn(async (page) => {
    await openSession(page, given.session, "ended");
    const head = Number(await page.locator("#head").getAttribute("data-head"));
    assert(head > 20_000, `${head} records`);
    await shown(page, head);
    assert(await page.locator("#records .record:not([hidden])").last().evaluate(isInView), "the end is in view");
    let first = (await staysSmall(page))[0];
    for (let times = 0; times < 12; times++) {
        await scrollTo(page, "top");
        await page.waitForFunction((first) => document.querySelector(".chunk").dataset.after < first - 1, first);
        [first] = await staysSmall(page);
    }
    assert(first < head - 1_000, `scrolled up to ${first}`);
    await page.locator("#to-latest").click();
    await shown(page, head);
    await staysSmall(page);

    await page.goto(`/execution/${given.session}?seq=5`);
    await says(page, "the very first");
    assert.equal((await staysSmall(page))[0], 1);
    let last = (await shownSeqs(page)).at(-1);
    for (let times = 0; times < 8; times++) {
        await scrollTo(page, "bottom");
        await isThrough(page, last + 1);
        last = (await staysSmall(page)).at(-1);
    }
    assert((await shownSeqs(page))[0] > 1, "what is far is dropped");

    // On a phone the timeline stands above the records: it can be reached without going through all of them.
    await page.setViewportSize(PHONE);
    await openSession(page, given.session, "ended");
    await shown(page, head);
    [first] = await staysSmall(page);
    await page.evaluate(() => scrollTo(0, 0));
    await page.getByRole("button", { name: "Earlier records" }).waitFor();
    assert(await page.locator("#timeline").evaluate(isInView));
    await page.getByRole("button", { name: "Earlier records" }).click();
    await page.waitForFunction((first) => document.querySelector(".chunk").dataset.after < first - 1, first);
    await staysSmall(page);
});
