// Drives Entra's part of the double of Dataverse with MSAL, Microsoft's own client library: an app by itself, and a person on
// another device, whose token is renewed.

import { require } from './double.mjs';

const { ConfidentialClientApplication, PublicClientApplication } = require('@azure/msal-node');

const environment = 'https://contoso.crm4.dynamics.com';
const scopes = [`${environment}/.default`];
const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return { code: error.errorCode, message: error.errorMessage };
  }
};

const robot = (clientSecret) => new ConfidentialClientApplication({ auth: {
  clientId: '6f1f2f5e-aaaa-4bbb-8ccc-0123456789ac', clientSecret, authority: 'https://login.microsoftonline.com/contoso.example',
} });
const alone = await robot('robot-secret-of-the-test').acquireTokenByClientCredential({ scopes });

const cookies = new Map();
const visit = async (url, fields) => {
  const sent = fields && { method: 'POST', body: new URLSearchParams(fields) };
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, { ...sent, redirect: 'manual', headers: { cookie } });
  for (const set of answer.headers.getSetCookie()) cookies.set(...set.split(';')[0].split('='));
  const to = answer.headers.get('location');
  return to ? visit(new URL(to, url)) : { url, text: await answer.text() };
};
// As a person does with the page and the code that they are shown.
const agree = async ({ verificationUri, userCode }) => {
  const page = await visit(verificationUri);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(page.text)[1];
  const person = await visit(page.url, { xsrf, user_code: userCode, confirm: 'yes' });
  await visit(person.url, {});
};
const device = new PublicClientApplication({ auth: {
  clientId: '6f1f2f5e-aaaa-4bbb-8ccc-0123456789ab', authority: 'https://login.microsoftonline.com/organizations',
} });
let shown;
const person = await device.acquireTokenByDeviceCode({ scopes, deviceCodeCallback: (code) => { shown = code; agree(code); } });
const renewed = await device.acquireTokenSilent({ scopes, account: person.account, forceRefresh: true });

const who = async (token) => {
  const answer = await fetch(`${environment}/api/data/v9.2/WhoAmI`, { headers: { authorization: `Bearer ${token}` } });
  return answer.ok ? (await answer.json()).UserId : answer.status;
};
const seen = {
  kind: alone.tokenType, page: shown.verificationUri, interval: shown.interval, robot: await who(alone.accessToken),
  person: await who(person.accessToken), renewed: await who(renewed.accessToken), same: renewed.accessToken === person.accessToken,
  stranger: await failure(robot('wrong').acquireTokenByClientCredential({ scopes })),
};
process.stdout.write(JSON.stringify(seen));
