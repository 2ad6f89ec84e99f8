// A person with a real browser, which is Debian's Chromium: opens links one after another, looks at each page of Attaché's as
// its window shows it, agrees, and signs in at oidc.mjs where that asks. Prints one line of JSON: what was seen.
//
// usage: node browser.mjs CONFIG, where CONFIG is JSON:
//   chromium     its path
//   links        what to open
//   until        how the address begins where each way ends
//   window       [width, height]; a narrow one is a telephone's
//   javascript   whether pages may run it
//   again        whether to open the first link once more when all is done
//   pages        pages to be looked at as they are, each with a name and its HTML: by axe too, in which WCAG's rules are
//   pictures     how names of pictures begin

import { createRequire } from 'node:module';

const require = createRequire(`${process.env.PEERS}/`);
const { chromium } = require('playwright-core');
const config = JSON.parse(process.argv[2]);
const [width, height] = config.window;

const browser = await chromium.launch({
  executablePath: config.chromium,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
const context = await browser.newContext({
  viewport: { width, height }, isMobile: width < 600, javaScriptEnabled: config.javascript,
});
context.setDefaultTimeout(30_000);
const page = await context.newPage();

// The provider's own page is not looked at.
const complaints = [];
const listen = (to, complaints) => {
  const heard = (what) => new URL(to.url()).pathname.startsWith('/interaction/') || complaints.push(`${to.url()}: ${what}`);
  to.on('console', (said) => ['error', 'warning'].includes(said.type()) && heard(said.text()));
  to.on('pageerror', heard);
};
listen(page, complaints);

// Silence says something only where a page that breaks its policy is heard.
const control = async () => {
  const breaks = await context.newPage();
  const complaints = [];
  listen(breaks, complaints);
  await breaks.route('**/*', (route) => route.fulfill({
    headers: { 'content-security-policy': "default-src 'none'" }, contentType: 'text/html', body: '<style>p { color: red }</style><p>',
  }));
  const console = breaks.waitForEvent('console');
  await breaks.goto('http://127.0.0.1:1/');
  await console;
  await breaks.close();
  return complaints;
};

let requests = [];
page.on('request', (request) => requests.push(request.url()));

// What the page says to eyes, to a screen reader, and to others over the network.
const look = async (name) => {
  const { origin } = new URL(page.url());
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${config.pictures}-${name}-${width}-${colorScheme}.png`, fullPage: true });
  }
  const inPage = () => ({
    lang: document.documentElement.lang,
    headings: document.querySelectorAll('h1').length,
    width: document.documentElement.scrollWidth,
    style: getComputedStyle(document.querySelector('main')).maxWidth,
  });
  const elsewhere = requests.filter((url) => new URL(url).origin !== origin);
  return { name, ...await page.evaluate(inPage), tree: await page.locator('body').ariaSnapshot(), elsewhere };
};

// What keeps somebody from reading a page or going on, in either colour scheme, and what the keyboard reaches in which order.
const read = async ({ name, html }) => {
  const { source } = require('../axe-core');
  await page.setContent(html);
  const broken = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(source);
    const { violations, incomplete, passes } = await page.evaluate(() => window.axe.run());
    if (passes.length < 10) throw new Error(`axe looked at nothing: ${passes.length}`);
    const unsure = incomplete.filter(({ id }) => id === 'color-contrast');
    broken.push(...[...violations, ...unsure].map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes.map((it) => it.html)}`));
  }
  const reached = [];
  for (let step = 0; step < 2; step++) {
    await page.keyboard.press('Tab');
    reached.push(await page.evaluate(() => (document.activeElement === document.body ? '' : document.activeElement.innerText.trim())));
  }
  const turning = await page.evaluate(() => [...document.querySelectorAll('q, code, strong')]
    .filter((it) => getComputedStyle(it).unicodeBidi !== 'isolate').map((it) => it.innerText));
  const spilling = await page.evaluate(() => [...document.querySelectorAll('h1, p, dd')]
    .filter((it) => getComputedStyle(it).overflowY !== 'clip').map((it) => it.innerText));
  return { ...await look(name), broken, reached: reached.filter((it) => it), turning, spilling };
};

const way = async (link, index) => {
  requests = [];
  await page.goto(link);
  const consent = await look(`consent-${index}`);
  await page.getByRole('button').click();
  const isAsked = (url) => url.pathname.startsWith('/interaction/');
  const isThere = (url) => url.href.startsWith(config.until);
  await page.waitForURL((url) => isAsked(url) || isThere(url));
  const asked = isAsked(new URL(page.url()));
  if (asked) {
    await page.locator('[name=login]').fill('jo');
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(isThere);
  }
  const end = { url: page.url(), heading: await page.locator('h1').innerText() };
  return { consent, asked, end };
};

try {
  const broken = await control();
  const pages = [];
  for (const shown of config.pages ?? []) pages.push(await read(shown));
  const ways = [];
  for (const [index, link] of config.links.entries()) ways.push(await way(link, index));
  const complained = [...complaints];
  requests = [];
  if (config.again) await page.goto(config.links[0]);
  const last = await look('last');
  console.log(JSON.stringify({ control: broken, pages, ways, last, complaints: complained }));
} catch (error) {
  console.error(`${error.stack}\nat ${page.url()}\n${complaints.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
