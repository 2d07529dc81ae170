// The pages that `tokenprune view` and `tokenprune compare` write, opened in a real browser without a window.
//
// TOKENPRUNE and PYTHON name the programs; screenshots go to screens/.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const here = import.meta.dirname, screens = join(here, "screens");
const folder = mkdtempSync(join(tmpdir(), "pages-"));
const cat = join(here, "../../docs/images/chelsea.jpg");
const env = { ...process.env, OMP_NUM_THREADS: "1" };
const INSIDE = `name: inside
stages:
  - {scorer: cls_attention, splitter: equal, budget: 50%}
  - {site: {llm_layer: 2}, scorer: random, budget: 25%}
  - {site: {llm_layer: 5}, scorer: random, budget: 10%}
budget: 30%
`;
const tokenprune = (...options) => execFileSync(process.env.TOKENPRUNE ?? "tokenprune", options, { env, cwd: folder });
let browser;

before(async () => {
  mkdirSync(screens, { recursive: true });
  const model = join(folder, "anyres");
  execFileSync(process.env.PYTHON ?? "python", [join(here, "../../examples/draw_pictures.py"), "--model", model], { env });
  tokenprune("view", "sparse:1", "--pipelines", "vispruner,divprune", "--budgets", "64,28,7", "--out", "scene.png");
  const anyres = ["--model", model, "--pipelines", "vispruner", "--budgets", "640,160", "--prompt", "What color is the star?"];
  tokenprune("view", cat, ...anyres, "--out", "anyres.png");
  writeFileSync(join(folder, "inside.yaml"), INSIDE);
  tokenprune("view", "sparse:1", "--pipelines", "inside.yaml", "--budgets", "50%,30%", "--out", "inside.png");
  tokenprune("compare", "sparse:0", "--pipelines", "vispruner,pool", "--budgets", "64,16", "--out", "answers.html");
  browser = await puppeteer.launch({ args: chromium.args, executablePath: await chromium.executablePath(), headless: "shell" });
}, { timeout: 300_000 });

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

// Open a page; whatever it asks for or complains of is noted.
const open = async (name, { scheme = "light", width = 1200 } = {}) => {
  const page = await browser.newPage(), noted = { requests: [], errors: [] };
  page.on("request", (request) => request.url().startsWith("data:") || noted.requests.push(request.url()));
  page.on("pageerror", (error) => noted.errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && noted.errors.push(message.text()));
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`file://${join(folder, name)}`);
  await page.waitForSelector("html[data-ready]");
  return [page, noted];
};

const shoot = (page, name) => page.screenshot({ path: join(screens, `${name}.png`), fullPage: true });
const text = (page, selector) => page.$$eval(selector, (found) => found.map((one) => one.textContent));
const toBudget = async (page, at) => {
  await page.focus("#budget");
  await page.keyboard.press("Home");
  for (let step = 0; step < at; step++) await page.keyboard.press("ArrowRight");
};

// Of every figure: how many tokens stay, those of them whose middle is not as in the picture, and dropped ones that are.
const painted = (page, apart = false) => page.evaluate((apart) => {
  const data = JSON.parse(document.getElementById("data").textContent), budget = Number(document.getElementById("budget").value);
  const figures = [...document.querySelectorAll("figure")], found = [];
  const pictures = data.items.map((item) => Object.assign(new Image(), { src: item.image }));
  return Promise.all(pictures.map((picture) => picture.decode())).then(() => {
    data.items.forEach((item, at) => item.pipelines.forEach((pipeline) => {
      const canvas = figures.shift().querySelector(apart ? ".thumbnail canvas" : "canvas.whole"), scale = canvas.width / item.width;
      const plain = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
      plain.getContext("2d").imageSmoothingEnabled = !item.pixelated;
      plain.getContext("2d").drawImage(pictures[at], 0, 0, canvas.width, canvas.height);
      const [is, was] = [canvas, plain].map((one) => one.getContext("2d").getImageData(0, 0, one.width, one.height).data);
      const counts = { stays: 0, changed: 0, shown: 0 };
      item.tokens.forEach(([number, y, x], token) => {
        const row = item.rows[number];
        if (row.again !== apart) return;
        const [left, top, right, bottom] = row.box;
        const middle = [left + ((x + 0.5) * (right - left)) / row.grid[1], top + ((y + 0.5) * (bottom - top)) / row.grid[0]];
        const [px, py] = middle.map((side) => Math.floor(side * scale));
        if (px < 0 || py < 0 || px >= canvas.width || py >= canvas.height) return;
        const channels = [0, 1, 2].map((channel) => 4 * (py * canvas.width + px) + channel);
        const same = channels.every((channel) => Math.abs(is[channel] - was[channel]) <= 2);
        const bright = channels.some((channel) => was[channel] > 20);
        const stays = pipeline.runs[budget].kept[token] !== "0";
        counts.stays += stays;
        counts.changed += stays && !same;
        counts.shown += !stays && same && bright;
      });
      found.push(counts);
    }));
    return found;
  });
}, apart);

describe("a scene", () => {
  test("the slider is moved with the keyboard, and every picture follows", async () => {
    const [page, noted] = await open("scene.html");
    for (const [at, budget] of [[0, "64"], [2, "7"], [1, "28"]]) {
      await toBudget(page, at);
      assert.equal(await page.$eval("#chosen", (one) => one.textContent), budget);
      assert.equal(await page.$eval("#budget", (one) => one.getAttribute("aria-valuetext")), budget);
      for (const count of await text(page, ".count")) assert.match(count, new RegExp(`^${budget} of 256 tokens`));
      const each = { stays: Number(budget), changed: 0, shown: 0 };
      assert.deepEqual(await painted(page), [each, each]);
      const labels = await page.$$eval("canvas.whole", (found) => found.map((one) => one.getAttribute("aria-label")));
      for (const label of labels) assert.match(label, new RegExp(`at ${budget}: ${budget} of 256 tokens stay`));
    }
    assert.deepEqual(noted.requests.length, 1, "nothing but the page itself is asked for");
    assert.deepEqual(noted.errors, []);
    await shoot(page, "scene");
    await page.close();
  });

  test("scores are shown where there are some, and said to be missing where not", async () => {
    const [page, noted] = await open("scene.html", { scheme: "dark", width: 500 });
    const before = await page.$eval("canvas.whole", (one) => one.toDataURL());
    await page.click('input[value="scores"]');
    assert.notEqual(await page.$eval("canvas.whole", (one) => one.toDataURL()), before);
    assert.equal(await page.$$eval(".ramp", (found) => found.length), 1);
    assert.ok((await text(page, "figcaption .small")).includes("this pipeline has no scorer that sees the vision encoder"));
    await page.click('input[value="kept"]');
    assert.equal(await page.$eval("canvas.whole", (one) => one.toDataURL()), before);
    assert.deepEqual(noted.errors, []);
    await page.click('input[value="scores"]');
    await shoot(page, "scores-dark-narrow");
    await page.close();
  });

  test("it has names for those who do not see it, in light and in dark", async () => {
    const papers = [];
    for (const scheme of ["light", "dark"]) {
      const [page] = await open("scene.html", { scheme });
      const nameless = await page.$$eval("canvas", (found) => found.filter((one) => !one.getAttribute("aria-label") || one.getAttribute("role") !== "img").length);
      assert.equal(nameless, 0);
      const snapshot = await page.accessibility.snapshot();
      const slider = snapshot.children.find((one) => one.role === "slider") ?? JSON.stringify(snapshot).includes('"slider"');
      assert.ok(slider);
      assert.equal(await page.$eval("html", (one) => one.lang), "en");
      papers.push(await page.$eval("body", (one) => getComputedStyle(one).backgroundColor));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
      assert.ok(wide, "nothing reaches beyond the window");
      await page.close();
    }
    assert.notEqual(papers[0], papers[1]);
  });
});

describe("an image in crops", () => {
  test("crops lie on the picture, the thumbnail apart, and the slider changes both", async () => {
    const [page, noted] = await open("anyres.html");
    for (const at of [0, 1]) {
      await toBudget(page, at);
      let kept = 0;
      for (const apart of [false, true]) {
        const [{ stays, changed, shown }] = await painted(page, apart);
        kept += stays;
        assert.deepEqual([changed, shown], [0, 0]);
      }
      assert.ok(Math.abs(kept - [640, 160][at]) <= 30, `${kept} tokens; those of padding lie beyond the picture`);
    }
    assert.deepEqual(noted.errors, []);
    await shoot(page, "anyres");
    await page.close();
  });
});

describe("a pipeline that goes on choosing inside the language model", () => {
  test("a strip shows what the layers see, and the slider changes it", async () => {
    const [page, noted] = await open("inside.html");
    const strips = [];
    for (const at of [0, 1]) {
      await toBudget(page, at);
      const stages = await text(page, ".strip li span");
      assert.deepEqual(stages.map((one) => one.split(":")[0]), ["layers 0 to 1", "layers 2 to 4", "layers 5 to 7"]);
      const counts = stages.map((one) => Number(one.split(":")[1]));
      assert.ok(counts[0] > counts[1] && counts[1] > counts[2]);
      assert.match((await text(page, ".count"))[0], new RegExp(`^${counts[2]} of 256 tokens .* in the last layers$`));
      assert.deepEqual((await painted(page))[0], { stays: counts[2], changed: 0, shown: 0 });
      strips.push(await page.$eval(".strip canvas", (one) => one.toDataURL()));
    }
    assert.notEqual(strips[0], strips[1]);
    assert.deepEqual(noted.errors, []);
    await shoot(page, "inside");
    await page.close();
  });
});

describe("answers", () => {
  test("the table follows the slider and says what agrees", async () => {
    const [page, noted] = await open("answers.html");
    const tables = [];
    for (const [at, budget] of [[0, "64"], [1, "16"]]) {
      await toBudget(page, at);
      assert.deepEqual(await text(page, ".answers caption"), [`Answers at ${budget}`]);
      tables.push(await text(page, ".answers td"));
    }
    assert.notDeepEqual(tables[0], tables[1]);
    assert.ok(tables[1].some((cell) => cell.startsWith("✗")) && tables[1].some((cell) => cell.startsWith("✓")));
    assert.deepEqual(await text(page, ".answers th[scope=col]"), ["question", "right answer", "all tokens", "vispruner", "pool"]);
    await page.click("summary");
    assert.equal(await page.$$eval("tr[aria-current]", (found) => found.length), 2);
    assert.deepEqual(noted.errors, []);
    await shoot(page, "answers");
    await page.close();
  });
});
