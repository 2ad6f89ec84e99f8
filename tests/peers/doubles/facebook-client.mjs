// Drives the double of Facebook with Facebook's own SDK for JavaScript. It has nothing to sign people in with, so that part goes as
// the guide "Manually Build a Login Flow" says.

import { createHmac } from 'node:crypto';
import { require, tell } from './double.mjs';

const { FacebookAdsApi, Page, User } = require('facebook-nodejs-business-sdk');

const app = { client_id: '1234567890', client_secret: 'facebook-secret-of-the-test' };
const redirect_uri = 'http://127.0.0.1/callback';
const dialog = new URLSearchParams({ client_id: app.client_id, redirect_uri, state: 's', scope: 'public_profile,pages_show_list' });
const agreed = await fetch(`https://www.facebook.com/v24.0/dialog/oauth?${dialog}`, { method: 'POST', redirect: 'manual' });
const code = new URL(agreed.headers.get('location')).searchParams.get('code');
const token = async (params) => (await fetch(`https://graph.facebook.com/v24.0/oauth/access_token?${new URLSearchParams({ ...app, ...params })}`)).json();
const short = await token({ redirect_uri, code });
const long = await token({ grant_type: 'fb_exchange_token', fb_exchange_token: short.access_token });

const client = (access_token) => new FacebookAdsApi(access_token, 'en_US', false);
const proof = (access_token) => createHmac('sha256', app.client_secret).update(access_token).digest('hex');
const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return { status: error.status, code: error.response.code, subcode: error.response.error_subcode, message: error.message };
  }
};
const user = new User('me', {}, null, client(long.access_token));
const me = await user.get(['id', 'name'], { appsecret_proof: proof(long.access_token) });
let page = await user.getAccounts(['id', 'name', 'access_token'], { limit: 2 });
const managed = [...page];
while (page.hasNext()) {
  page = await page.next();
  managed.push(...page);
}
const bakery = new Page(managed[0].id, {}, null, client(managed[0].access_token));
const seen = {
  lasts: [short.expires_in, long.expires_in],
  name: me.name, pages: managed.map((it) => it.name),
  post: (await bakery.createFeed([], { message: 'By the SDK' })).id.startsWith(`${managed[0].id}_`),
  unproven: await failure(user.get(['id'], { appsecret_proof: proof('another') })),
  stranger: await failure(new User('me', {}, null, client('unknown')).get(['id'])),
  person: await failure(new Page(managed[0].id, {}, null, client(long.access_token)).createFeed([], { message: 'x' })),
  unknown: await failure(new Page('99999', {}, null, client(long.access_token)).get(['id'])),
};
await tell('refuse/4');
seen.limited = await failure(user.get(['id'], { appsecret_proof: proof(long.access_token) }));
seen.afterwards = (await user.get(['id', 'name'], { appsecret_proof: proof(long.access_token) })).name;
process.stdout.write(JSON.stringify(seen));
