// Drives the double of GitHub with GitHub's own client libraries: Octokit, its device flow, its pagination and its throttling.

import { require, tell } from './double.mjs';

const { Octokit } = require('@octokit/core');
const { createOAuthDeviceAuth } = require('@octokit/auth-oauth-device');
const { paginateRest } = require('@octokit/plugin-paginate-rest');
const { throttling } = require('@octokit/plugin-throttling');

const agree = (verification) => fetch(verification.verification_uri, {
  method: 'POST', body: new URLSearchParams({ user_code: verification.user_code, decision: 'yes' }),
});
const auth = createOAuthDeviceAuth({
  clientType: 'oauth-app', clientId: 'Iv1.0123456789abcdef', scopes: ['repo', 'read:user'],
  // The first question comes before the person has agreed.
  onVerification: (verification) => { setTimeout(agree, 200, verification); },
});
const { token, tokenType } = await auth({ type: 'oauth' });

const octokit = new (Octokit.plugin(paginateRest))({ auth: token });
const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return { status: error.status, message: error.message, remaining: error.response.headers['x-ratelimit-remaining'], wait: error.response.headers['retry-after'] };
  }
};
const issues = { owner: 'octocat', repo: 'hello-world' };
const seen = {
  tokenType,
  user: (await octokit.request('GET /user')).data.login,
  repositories: (await octokit.paginate('GET /user/repos', { per_page: 2 })).map((it) => it.full_name),
  issues: (await octokit.paginate('GET /repos/{owner}/{repo}/issues', { ...issues, per_page: 2, state: 'all' })).map((it) => it.number),
  created: (await octokit.request('POST /repos/{owner}/{repo}/issues', { ...issues, title: 'By Octokit', labels: ['bug'] })).data.number,
  untitled: await failure(octokit.request('POST /repos/{owner}/{repo}/issues', { ...issues, title: '' })),
  unknown: await failure(octokit.request('GET /repos/{owner}/{repo}/issues', { ...issues, repo: 'none' })),
  stranger: await failure(new Octokit({ auth: 'gho_unknown' }).request('GET /user')),
};
// What it makes of both limits; whoever says nothing is not waited for.
const throttle = {
  onRateLimit: (wait) => { seen.limits.primary = wait; },
  onSecondaryRateLimit: (wait) => { seen.limits.secondary = wait; },
};
seen.limits = {};
const careful = new (Octokit.plugin(throttling))({ auth: token, throttle });
for (const kind of ['primary', 'secondary']) {
  await tell(`limit/${kind}`);
  seen.limits[`${kind}-status`] = (await failure(careful.request('GET /user'))).status;
}
process.stdout.write(JSON.stringify(seen));
