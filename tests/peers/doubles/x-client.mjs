// Drives the double of X with twitter-api-v2, the client library that X's own documentation lists for JavaScript.

import { require, tell } from './double.mjs';

const { TwitterApi } = require('twitter-api-v2');

const app = new TwitterApi({ clientId: 'eHgtY2xpZW50OjE6Y2k', clientSecret: 'x-secret-of-the-test' });
const redirectUri = 'http://127.0.0.1/callback';
const link = app.generateOAuth2AuthLink(redirectUri, { scope: ['users.read', 'tweet.read', 'tweet.write', 'offline.access'] });
const agreed = await fetch(link.url, { method: 'POST', redirect: 'manual' });
const back = new URL(agreed.headers.get('location'));
const first = await app.loginWithOAuth2({ code: back.searchParams.get('code'), codeVerifier: link.codeVerifier, redirectUri });
const renewed = await app.refreshOAuth2Token(first.refreshToken);
const client = renewed.client;

const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return { code: error.code, limited: error.rateLimitError, reset: error.rateLimit?.reset > Date.now() / 1000, detail: error.data?.detail };
  }
};
const me = (await client.v2.me()).data;
const timeline = await client.v2.userTimeline(me.id, { max_results: 5 });
const texts = [];
for await (const post of timeline) texts.push(post.text);
const made = (await client.v2.tweet('By the library')).data;
const seen = {
  state: back.searchParams.get('state') === link.state, scope: first.scope, username: me.username, texts, made: made.text,
  duplicate: await failure(client.v2.tweet('By the library')),
  deleted: (await client.v2.deleteTweet(made.id)).data.deleted,
  stranger: await failure(new TwitterApi('unknown').v2.me()),
  few: await failure(client.v2.userTimeline(me.id, { max_results: 4 })),
};
await tell('limit');
seen.limited = await failure(client.v2.me());
seen.spent = await failure(app.refreshOAuth2Token(first.refreshToken));
seen.ended = await failure(client.v2.me());
process.stdout.write(JSON.stringify(seen));
