// Every page, in every look, before axe.

import { assert, DESKTOP, given, inBrowser, link, origin, PHONE, violations } from "./browser.mjs";

const PAGES = [
    "/",
    "/history",
    "/history?q=nothing-has-this",
    `/execution/${given.ended}`,
    `/execution/${given.allowing}`,
    `/execution/${given.asking}`,
    "/execution/no-such-session",
    "/api/reference",
];

// Dark differs from light by its colours alone.
const LOOKS = [DESKTOP, PHONE].flatMap((size) => [
    { size, colorScheme: "light" },
    { size, colorScheme: "dark", rules: ["color-contrast"] },
]);

async function look(page, name, found) {
    await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    for (const { size, colorScheme, rules } of LOOKS) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.setViewportSize(size);
        for (const violation of await violations(page, rules)) {
            found.push(`${name}, ${colorScheme}, ${size.width} wide: ${violation}`);
        }
    }
}

inBrowser(async ({ context }) => {
    const found = [];
    const page = await context.newPage();
    await page.goto("/");
    await look(page, "sign-in", found);
    await page.goto(link);
    await page.waitForURL(`${origin}/`);
    for (const path of PAGES) {
        await page.goto(path);
        console.time(path); await look(page, path, found); console.timeEnd(path);
    }
    await page.goto(`/execution/${given.ended}`);
    await page.getByRole("button", { name: "Fork", exact: true }).click();
    await look(page, "a dialog", found);
    assert.deepEqual(found, []);
});
