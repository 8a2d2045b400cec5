// What the scripts share: a signed-in browser, the lines between script and test, and what must hold on every page.
// `tests/page/browser.rs` starts each script and says what it is given.

import { strict as assert } from "node:assert";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.PAGE_TEST_LIBRARIES}/`);
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

export { assert };

/** Ends a script that hangs; it says nothing about speed. */
export const PATIENCE = 180_000;

export const given = JSON.parse(process.env.PAGE_TEST_GIVEN);
export const link = process.env.PAGE_TEST_LINK;
export const origin = new URL(link).origin;
export const PHONE = { width: 375, height: 812 };
export const DESKTOP = { width: 1280, height: 800 };

const FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Tells the test where the script is, and waits for what it answers. */
export async function reach(place) {
    process.stdout.write(`reached ${place}\n`);
    const { value, done } = await lines.next();
    assert(!done, "the test is gone");
    return JSON.parse(value);
}

/** Runs `work` with a context of a browser. Nothing that a page reports as an error may come up meanwhile. */
export async function inBrowser(work) {
    const browser = await chromium.launch({ executablePath: process.env.PAGE_TEST_CHROMIUM, args: FLAGS });
    const faults = [];
    try {
        const context = await newContext(browser, faults);
        await work({ browser, context, faults, another: () => newContext(browser, faults) });
        assert.deepEqual(faults, []);
    } catch (error) {
        console.error(error, "\nwhat the pages reported:", faults);
        for (const page of browser.contexts().flatMap((context) => context.pages())) {
            console.error(`\n${page.url()} shows:\n${await page.innerText("body").catch(String)}`);
        }
        process.exitCode = 1;
    } finally {
        await browser.close();
        process.stdin.destroy();
    }
}

/** The same with a page that is signed in. */
export function signedIn(work) {
    return inBrowser(async (tools) => {
        const page = await tools.context.newPage();
        await page.goto(link);
        await page.waitForURL(`${origin}/`);
        await work(page, tools);
    });
}

async function newContext(browser, faults) {
    const context = await browser.newContext({ viewport: DESKTOP, baseURL: origin });
    context.setDefaultTimeout(PATIENCE);
    context.on("page", (page) => {
        page.on("dialog", (dialog) => {
            faults.push(`dialog: ${dialog.message()}`);
            dialog.dismiss();
        });
        page.on("pageerror", (error) => faults.push(`error: ${error.stack}`));
        page.on("console", (message) => {
            const isOfNetwork = message.text().startsWith("Failed to load resource");
            if (message.type() === "error" && !isOfNetwork) faults.push(`console: ${message.text()}`);
        });
    });
    return context;
}

/** Opens a session's page and waits until it has the stream, or needs none. */
export async function openSession(page, id, state = "live") {
    await page.goto(`/execution/${id}`);
    await connected(page, state);
}

export function connected(page, state) {
    return page.locator(`#connection[data-connection="${state}"]`).waitFor();
}

/** Waits until the head of the session's page says this state. */
export function stands(page, state) {
    return page.locator(`#head[data-state="${state}"]`).waitFor();
}

/** Waits until the transcript shows that the agent said this. */
export function says(page, text) {
    return page.locator("#records .markdown").getByText(text, { exact: true }).waitFor();
}

/** Waits until the transcript has a record with this number. */
export function shown(page, seq) {
    return page.locator(`#r${seq}`).waitFor({ state: "attached" });
}

/** Waits until the transcript has come to a record with this number. */
export function isThrough(page, seq) {
    return page.waitForFunction(
        (seq) => Number(document.querySelector("#records").lastElementChild?.dataset.last) >= seq,
        seq,
    );
}

/** Scrolls up until the transcript begins with the first record. */
export async function loadAll(page) {
    const first = () => page.evaluate(() => Number(document.querySelector("#records .chunk").dataset.after));
    for (let after = await first(); after > 0; after = await first()) {
        await page.evaluate(() => (document.querySelector("#transcript").scrollTop = 0));
        await page.waitForFunction((after) => document.querySelector("#records .chunk").dataset.after < after, after);
    }
}

/** The numbers of all records of the page, as they stand in it. */
export function shownSeqs(page) {
    return page.locator("#records [data-seq]").evaluateAll((all) => all.map((each) => Number(each.dataset.seq)));
}

/** All records of the journal. */
export async function journal(page, id) {
    const records = [];
    for (;;) {
        const after = records.at(-1)?.seq ?? 0;
        // By the browser, which takes the page's name for this machine.
        const { status, more } = await page.evaluate(async (path) => {
            const answer = await fetch(path);
            return { status: answer.status, more: (await answer.json()).records };
        }, `/api/sessions/${id}/records?after=${after}&limit=500`);
        assert.equal(status, 200);
        if (more.length === 0) return records;
        records.push(...more);
    }
}

/** Every record of an ended session is on the page, once. (Results stand in their calls, out of order.) */
export async function missesNothing(page, id) {
    const expected = (await journal(page, id)).map(({ seq }) => seq);
    await isThrough(page, expected.at(-1));
    await loadAll(page);
    const seqs = (await shownSeqs(page)).sort((one, other) => one - other);
    assert.deepEqual(seqs, expected);
    assert.equal(await page.locator(".draft").count(), 0, "nothing is being written any more");
}

/** What axe finds; `rules` are those to hold the page to, all unless told. */
export async function violations(page, rules) {
    const axe = new AxeBuilder({ page }).setLegacyMode(true).options({ resultTypes: ["violations"] });
    const { violations } = await (rules ? axe.withRules(rules) : axe).analyze();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ").slice(0, 500)}`);
}
