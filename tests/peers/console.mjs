// The operator with a real browser, which is Debian's Chromium: takes steps as a story says, looks at pages on a wide and a
// narrow window, and prints one line of JSON: what was seen.
//
// usage: node console.mjs CONFIG, where CONFIG is JSON:
//   chromium     its path
//   javascript   whether pages may run it
//   pictures     how names of pictures begin; none are made without
//   steps        one after another, each an object with one member:
//     open       an address
//     fill       {label: text}; the label as people read it
//     choose     {label: option}
//     tick       a label
//     file       {label: path}
//     press      what a button says
//     follow     what a link says
//     unfold     what a summary says
//     until      how the address begins that is waited for
//     see        words that are waited for, while nothing is pressed
//     login      a person's name, at the page of oidc.mjs
//     device     a person's name, who types the code that the page shows at oidc-provider, with another browser
//     look       the name of a picture
//     keep       an address that is opened beside, with the same cookies, and whose status and text are told

import { createRequire } from 'node:module';

const { chromium } = createRequire(`${process.env.PEERS}/`)('playwright-core');
const config = JSON.parse(process.argv[2]);
const WINDOWS = [{ width: 1400, height: 900 }, { width: 360, height: 740 }];

const browser = await chromium.launch({
  executablePath: config.chromium,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
const context = await browser.newContext({ viewport: WINDOWS[0], javaScriptEnabled: config.javascript });
context.setDefaultTimeout(20_000);
const page = await context.newPage();

// What a browser complains of: a broken policy, a script that failed. That an answer was a refusal is no complaint.
const complaints = [];
const isRefusal = (text) => text.startsWith('Failed to load resource');
page.on('console', (said) => ['error', 'warning'].includes(said.type()) && !isRefusal(said.text()) && complaints.push(`${page.url()}: ${said.text()}`));
page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error}`));
// Only a script that should not run would open one.
page.on('dialog', async (dialog) => { complaints.push(`a dialog: ${dialog.message()}`); await dialog.dismiss(); });

const requests = new Set();
page.on('request', (request) => requests.add(new URL(request.url()).origin));
let status = 0;
page.on('response', (response) => { if (response.request().isNavigationRequest()) status = response.status(); });

const pages = [];
const look = async (name) => {
  const widths = [];
  for (const window of WINDOWS) {
    await page.setViewportSize(window);
    // An element that is narrower than the page may scroll by itself; the page does not.
    widths.push([window.width, await page.evaluate(() => document.documentElement.scrollWidth)]);
    if (config.pictures) {
      const colorScheme = window === WINDOWS[0] ? 'light' : 'dark';
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${config.pictures}-${name}-${window.width}-${colorScheme}.png`, fullPage: true });
    }
  }
  await page.setViewportSize(WINDOWS[0]);
  const inPage = () => ({
    lang: document.documentElement.lang,
    headings: document.querySelectorAll('h1').length,
    unlabelled: [...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((it) => it.labels.length === 0).length,
    styled: getComputedStyle(document.querySelector('main')).maxWidth,
    text: document.body.innerText,
    scripts: document.scripts.length,
    injected: document.querySelectorAll('img, iframe, b, script:not([src])').length,
  });
  pages.push({ name, url: page.url(), status, widths, ...await page.evaluate(inPage), html: await page.content(), tree: await page.locator('body').ariaSnapshot() });
};

const only = (object) => Object.entries(object)[0];
const steps = {
  open: (url) => page.goto(url),
  fill: (what) => { const [label, text] = only(what); return page.getByLabel(label, { exact: false }).first().fill(text); },
  choose: (what) => { const [label, option] = only(what); return page.getByLabel(label).selectOption(option); },
  tick: (label) => page.getByLabel(label).check(),
  file: (what) => { const [label, path] = only(what); return page.getByLabel(label).setInputFiles(path); },
  press: (name) => page.getByRole('button', { name, exact: true }).first().click(),
  follow: (name) => page.getByRole('link', { name, exact: true }).first().click(),
  unfold: (name) => page.locator('summary', { hasText: name }).first().click(),
  until: (url) => page.waitForURL((at) => at.href.startsWith(url)),
  see: (words) => page.getByText(words).first().waitFor(),
  login: async (name) => {
    await page.locator('[name=login]').fill(name);
    await page.getByRole('button', { name: 'Allow' }).click();
  },
  device: async (name) => {
    const uri = await page.locator('p > a code').first().innerText();
    const code = await page.locator('.code code').innerText();
    const other = await (await browser.newContext()).newPage();
    await other.goto(uri);
    await other.locator('[name=user_code]').fill(code);
    await other.getByRole('button', { name: 'Continue' }).click();
    await other.getByRole('button', { name: 'Continue' }).click();
    await other.locator('[name=login]').fill(name);
    await other.getByRole('button', { name: 'Allow' }).click();
    await other.getByText('Sign-in Success').waitFor();
  },
  look,
  keep: async (url) => {
    const answer = await context.request.get(url, { maxRedirects: 0 });
    pages.push({ name: url, status: answer.status(), text: await answer.text(), headers: answer.headers() });
  },
};

let at;
try {
  for (at of config.steps) {
    const [step, what] = only(at);
    await steps[step](what);
  }
  const cookies = await context.cookies();
  console.log(JSON.stringify({ pages, complaints, requests: [...requests], cookies }));
} catch (error) {
  console.error(`${error.stack}\nat ${JSON.stringify(at)} ${page.url()}\n${complaints.join('\n')}\n${await page.locator('body').innerText().catch(() => '')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
