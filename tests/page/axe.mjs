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

const LOOKS = [
    { colorScheme: "light", size: DESKTOP },
    { colorScheme: "dark", size: DESKTOP },
    { colorScheme: "light", size: PHONE },
    { colorScheme: "dark", size: PHONE },
];

async function look(page, name, found) {
    await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    for (const { colorScheme, size } of LOOKS) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.setViewportSize(size);
        for (const violation of await violations(page)) found.push(`${name} ${colorScheme} ${size.width}: ${violation}`);
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
        await look(page, path, found);
    }
    await page.goto(`/execution/${given.ended}`);
    await page.getByRole("button", { name: "Fork", exact: true }).click();
    await look(page, "a dialog", found);
    assert.deepEqual(found, []);
});
