// In a headless Chromium: a page that shows a price's change without being loaded again, and an order up to its end.
//
//   node check_browser.mjs page URL            the page beside this file; a line on standard output when it is drawn
//   node check_browser.mjs demo URL            the demo's page: products, a new price, an order that is confirmed
import { chromium } from "playwright-core";

const [what, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage();
page.setDefaultTimeout(60_000);

async function drawn() {
  await page.goto(url);
  await page.waitForSelector("body[data-state=loaded]");
  await page.evaluate(() => (window.sameDocument = true));
  console.log(`drawn ${await page.locator("#products tr").count()}`);
  await page.waitForFunction(() => [...document.querySelectorAll("td")].some((cell) => cell.textContent === "7.77 AUD"));
  if (!(await page.evaluate(() => window.sameDocument))) throw new Error("the page was loaded again");
  console.log("changed");
}

async function demo() {
  await page.goto(url);
  await page.click("li a");
  await page.waitForSelector("#prices td");
  const prices = () => page.locator("#prices").innerText();
  const before = await prices();
  await page.evaluate(() => (window.sameDocument = true));
  await page.waitForFunction((before) => document.getElementById("prices").innerText !== before, before);
  if (!(await page.evaluate(() => window.sameDocument))) throw new Error("the page was loaded again");
  console.log("changed");
  await page.click("button");
  await page.waitForFunction(() => document.querySelector("dd")?.textContent === "confirmed");
  console.log("confirmed");
}

try {
  await (what === "demo" ? demo() : drawn());
} finally {
  await browser.close();
}
