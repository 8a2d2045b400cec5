// In by the link, which works once; out by the button; and in again with a token.

import { assert, connected, given, inBrowser, link, openSession, origin } from "./browser.mjs";

inBrowser(async ({ context, another }) => {
    const page = await context.newPage();
    const before = await page.goto("/");
    assert.equal(before.status(), 401);
    await page.getByText("cc-executor open").first().waitFor();

    await page.goto(link);
    await page.waitForURL(`${origin}/`);
    await page.getByRole("heading", { name: "Start a run" }).waitFor();
    const cookies = await context.cookies();
    assert.equal(cookies.length, 1);
    const [cookie] = cookies;
    assert.equal(cookie.name, `cc_executor_${new URL(origin).port}`);
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
    assert.equal(await page.evaluate(() => document.cookie), "", "no script can read it");

    const late = await another();
    const second = await (await late.newPage()).goto(link);
    assert.equal(second.status(), 401, "the link is used up");
    assert.deepEqual(await late.cookies(), []);

    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByText("cc-executor open").first().waitFor();
    assert.deepEqual(await context.cookies(), []);
    await context.addCookies([cookie]);
    const after = await page.goto("/");
    assert.equal(after.status(), 401, "a cookie that was copied opens nothing either");

    await page.getByLabel("sign in with a token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("sign in with a token").fill(given.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Start a run" }).waitFor();

    // Who is signed out while he looks is told so, and comes back to where he was.
    await page.goto("/history?q=needle");
    const session = await context.newPage();
    await openSession(session, given.session);
    await page.getByRole("button", { name: "Sign out" }).click();
    await connected(session, "signed-out");
    await session.getByRole("link", { name: "Sign in again" }).click();
    await session.getByLabel("sign in with a token").fill(given.token);
    await session.getByRole("button", { name: "Sign in" }).click();
    await connected(session, "live");
    assert.equal(session.url(), `${origin}/execution/${given.session}`);
});
