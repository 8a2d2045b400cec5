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
];

// Dark differs from light by its colours alone.
const LOOKS = [DESKTOP, PHONE].flatMap((size) => [
    { size, colorScheme: "light" },
    { size, colorScheme: "dark", rules: ["color-contrast"] },
]);

// The reference of the API folds up hundreds of things that look alike.
const UNFOLDED_MAX = 20;

function unfold(most) {
    for (const details of [...document.querySelectorAll("details")].slice(0, most)) details.open = true;
}

async function look(page, name, found, looks = LOOKS) {
    await page.evaluate(unfold, UNFOLDED_MAX);
    for (const { size, colorScheme, rules } of looks) {
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
    await page.goto(`http://127.0.0.1:${new URL(origin).port}/`);
    await page.getByText("cc-executor open").waitFor();
    await look(page, "another address", found, [LOOKS.at(0), LOOKS.at(-1)]);
    await page.goto(link);
    await page.waitForURL(`${origin}/`);
    for (const path of PAGES) {
        await page.goto(path);
        await look(page, path, found);
    }
    // A long page, so not in every look.
    await page.goto("/api/reference");
    await look(page, "the reference", found, [LOOKS.at(0), LOOKS.at(-1)]);
    await page.goto(`/execution/${given.ended}`);
    await page.getByRole("button", { name: "Fork", exact: true }).click();
    await look(page, "a dialog", found);
    assert.deepEqual(found, []);
});
