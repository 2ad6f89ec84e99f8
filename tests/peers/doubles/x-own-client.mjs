// Drives the double of X with the XDK, X's own client library for JavaScript.

import { require, tell } from './double.mjs';

const { Client, OAuth2, PostPaginator, generateCodeChallenge, generateCodeVerifier } = require('@xdevplatform/xdk');

const oauth2 = new OAuth2({
  clientId: 'eHgtY2xpZW50OjE6Y2k', clientSecret: 'x-secret-of-the-test', redirectUri: 'http://127.0.0.1/callback',
  scope: ['users.read', 'tweet.read', 'tweet.write', 'offline.access'],
});
const verifier = generateCodeVerifier();
oauth2.setPkceParameters(verifier, await generateCodeChallenge(verifier));
const agreed = await fetch(await oauth2.getAuthorizationUrl('of the test'), { method: 'POST', redirect: 'manual' });
const back = new URL(agreed.headers.get('location'));
const first = await oauth2.exchangeCode(back.searchParams.get('code'), verifier);
const renewed = await oauth2.refreshToken();
const client = new Client({ accessToken: renewed.access_token });

const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    const header = (name) => Number(error.headers?.get(name));
    return {
      status: error.status, detail: error.data?.detail, message: error.message, remaining: header('x-rate-limit-remaining'),
      wait: header('x-rate-limit-reset') - Math.floor(Date.now() / 1000),
    };
  }
};
const me = (await client.users.getMe()).data;
const posts = new PostPaginator(async (token) => {
  const { data, meta } = await client.users.getPosts(me.id, { maxResults: 5, paginationToken: token });
  return { data: data ?? [], meta };
});
const texts = [];
for await (const post of posts) texts.push(post.text);
const made = (await client.posts.create({ text: 'By the XDK' })).data;
const seen = {
  state: back.searchParams.get('state'), scope: first.scope, username: me.username, texts, made: made.text,
  duplicate: await failure(client.posts.create({ text: 'By the XDK' })),
  deleted: (await client.posts.delete(made.id)).data.deleted,
  few: await failure(client.users.getPosts(me.id, { maxResults: 4 })),
  stranger: await failure(new Client({ accessToken: 'unknown' }).users.getMe()),
};
await tell('limit');
seen.limited = await failure(client.users.getMe());
seen.afterwards = (await client.users.getMe()).data.username;
seen.spent = await failure(oauth2.refreshToken(first.refresh_token));
seen.ended = await failure(client.users.getMe());
process.stdout.write(JSON.stringify(seen));
