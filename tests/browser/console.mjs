// node console.mjs FOLDER: goes over the console and writes what it looks like into FOLDER.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { World, eventually } from "./world.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SCREENS = {
  desk: { width: 1280, height: 900 },
  phone: { width: 360, height: 740, isMobile: true, hasTouch: true },
};
const folder = process.argv[2];

function chromium() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("there is no Chromium: install it, or name it in CHROMIUM");
  return found;
}

// What axe finds wrong. It runs in a world of its own: the page's policy lets no other script in.
async function violations(page) {
  const client = await page.createCDPSession();
  const { frameTree } = await client.send("Page.getFrameTree");
  const { executionContextId } = await client.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const { readFileSync } = await import("node:fs");
  const run = async (expression) => {
    const answer = await client.send("Runtime.evaluate", {
      expression, contextId: executionContextId, awaitPromise: true, returnByValue: true,
    });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  };
  await run(readFileSync(AXE, "utf8") + "; true");
  const found = await run(`axe.run(document, { resultTypes: ["violations"] }).then((result) =>
    result.violations.map((one) => one.id + ": " + one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")))`);
  await client.detach();
  return found;
}

async function look(browser, world, paths) {
  let looked = 0;
  for (const scheme of ["light", "dark"]) {
    for (const [screen, viewport] of Object.entries(SCREENS)) {
      const page = await browser.newPage();
      const troubles = [];
      page.on("pageerror", (error) => troubles.push(String(error)));
      page.on("console", (line) => line.type() === "error" && troubles.push(line.text()));
      page.on("request", (request) => {
        if (!request.url().startsWith(world.admin)) troubles.push(`asks ${request.url()}`);
      });
      await page.setViewport(viewport);
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      for (const [name, path] of Object.entries(paths)) {
        const answer = await page.goto(world.admin + path);
        assert.equal(answer.status(), 200, path);
        assert.deepEqual(await violations(page), [], `${path} ${screen} ${scheme}`);
        const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(tooWide <= 0, `${path} is ${tooWide} pixels too wide on the ${screen}`);
        await page.screenshot({ path: join(folder, `${name}-${screen}-${scheme}.png`), fullPage: true });
        looked += 1;
      }
      assert.deepEqual(troubles, []);
      await page.close();
    }
  }
  return looked;
}

// Every address that the pages lead to answers.
async function follow(page, world, paths) {
  const seen = new Set();
  for (const path of Object.values(paths)) {
    await page.goto(world.admin + path);
    const links = await page.$$eval("a[href]", (links) => links.map((link) => link.href));
    for (const link of links) seen.add(link.split("#")[0]);
  }
  for (const link of seen) {
    assert.ok(link.startsWith(world.admin), `${link} leads away`);
    const answer = await fetch(link, { headers: { authorization: world.operator() } });
    assert.equal(answer.status, 200, link);
  }
  return seen.size;
}

async function charts(page, world) {
  await page.goto(world.admin + "/");
  await page.waitForFunction(() => Number(document.body.dataset.pulses) >= 2);
  const drawn = await page.$$eval("figure polyline", (lines) => lines.map((line) => line.getAttribute("points")));
  assert.equal(drawn.length, 3);
  for (const points of drawn) assert.ok(points.split(" ").length >= 2, points);
  await page.focus("button[data-pause]");
  await page.keyboard.press("Enter");
  assert.equal(await page.$eval("button[data-pause]", (button) => button.getAttribute("aria-pressed")), "true");
  await page.keyboard.press("Enter");
  assert.equal(await page.$eval("button[data-pause]", (button) => button.textContent), "Pause charts");
}

// By keyboard alone: past the navigation, into the filter, and to the record.
async function keyboard(page, world) {
  await page.goto(world.admin + "/events");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "object");
  await page.keyboard.press("Tab");
  await page.keyboard.type(world.product);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  const rows = await page.$$eval("tbody tr", (rows) => rows.length);
  assert.equal(rows, 3);
  await page.focus(`a[href="/records/Product2/${world.product}"]`);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.ok((await page.$eval("h1", (title) => title.textContent)).includes(world.product));
  const at = await page.$eval("ol.timeline strong", (time) => time.textContent);
  await page.type("#at", at);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.ok((await page.content()).includes("The row at"));
}

async function press(page, label) {
  const form = `form[aria-label="${label}"] button`;
  await page.waitForSelector(form);
  await Promise.all([page.waitForNavigation(), page.click(form)]);
  return page.$eval("main", (main) => main.textContent);
}

// Each button of an order: changed and sent, given up and taken up again.
async function buttons(page, world) {
  await page.goto(`${world.admin}/orders?state=needs_attention`);
  await Promise.all([page.waitForNavigation(), page.click("tbody tr a")]);
  await page.type("#patch", '{"shipping_address": {"city": "Hobart"}}');
  assert.ok((await press(page, "Change it")).includes("It was changed."));
  assert.ok((await press(page, "Try it again now")).includes("It is sent again now."));
  await eventually("the order is in the org", async () => {
    await page.reload();
    return (await page.$(".facts .good")) !== null;
  });
  await page.goto(`${world.admin}/orders/WEB-2`);
  await page.type("#reason", "a test");
  assert.ok((await press(page, "Give it up")).includes("It was given up."));
  assert.ok((await press(page, "Take it up again")).includes("It was taken up again."));
  // A form whose token is of another process is refused, and says what to do.
  await page.goto(`${world.admin}/orders/WEB-2`);
  await page.$eval('form[aria-label="Try it again now"] input[name=token]', (token) => (token.value = "0"));
  assert.ok((await press(page, "Try it again now")).includes("load the page again"));
}

// A link lets in the one browser that comes first, and leaves nothing of itself in the address.
async function login(browser, world) {
  const link = world.loginUrl();
  const page = await browser.newPage();
  await page.goto(`${world.admin}/orders`);
  assert.equal(page.url(), `${world.admin}/login`);
  await page.goto("about:blank");
  await Promise.all([page.waitForSelector("figure[data-chart]"), page.goto(link)]);
  assert.equal(page.url(), `${world.admin}/`);
  await page.goBack();
  assert.ok(!page.url().includes("#"), page.url());
  const other = await (await browser.createBrowserContext()).newPage();
  await Promise.all([other.waitForSelector("p[role=alert]"), other.goto(link)]);
  assert.ok((await other.$eval("main", (main) => main.textContent)).includes("it was used"));
  await other.browserContext().close();
  await page.close();
}

async function main() {
  mkdirSync(folder, { recursive: true });
  const world = await World.start();
  let browser;
  try {
    await world.furnish();
    browser = await puppeteer.launch({
      executablePath: chromium(),
      args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
    });
    await login(browser, world);
    console.log("ok login");
    const page = await browser.newPage();
    await page.goto(`${world.admin}/events?record=${world.product}`);
    const event = await page.$eval("tbody tr a", (link) => link.getAttribute("href"));
    const paths = {
      status: "/", events: "/events", event, record: `/records/Product2/${world.product}`, parked: "/parked",
      repairs: "/repairs", orders: "/orders", order: "/orders/WEB-1", config: "/config", session: "/session", login: "/login",
    };
    const steps = { look: () => look(browser, world, paths), follow: () => follow(page, world, paths) };
    steps.charts = () => charts(page, world);
    steps.keyboard = () => keyboard(page, world);
    steps.buttons = () => buttons(page, world);
    for (const [name, step] of Object.entries(steps)) {
      const count = await step();
      console.log(`ok ${name}${count ? ` (${count})` : ""}`);
    }
  } finally {
    await browser?.close();
    world.stop();
  }
}

await main();
