// What is good to have and not needed: a code is filled in from the link, and what changes by itself is looked at again.
'use strict';

const code = document.querySelector('[data-code]');
if (code && location.hash.length > 1) {
  code.value = decodeURIComponent(location.hash.slice(1));
  // Neither the history nor a copied address keeps it.
  history.replaceState(null, '', location.pathname);
}

const EVERY = 5000;
const live = () => document.querySelectorAll('[data-live]');

const lookAgain = async () => {
  if (document.hidden || live().length === 0) return true;
  // The session does not last longer because a page was left open.
  const answer = await fetch(location.href, { headers: { 'attache-by-itself': '1' }, redirect: 'error' });
  if (!answer.ok) {
    for (const part of live()) part.setAttribute('data-stale', '');
    return false;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const part of live()) {
    const next = fresh.getElementById(part.id);
    const isUsed = part.contains(document.activeElement) || part.querySelector('details[open]');
    if (next && !isUsed && next.innerHTML !== part.innerHTML) part.replaceWith(document.adoptNode(next));
  }
  return true;
};

const again = async () => {
  const goOn = await lookAgain().catch(() => true);
  if (goOn) setTimeout(again, EVERY);
};
if (live().length > 0) setTimeout(again, EVERY);

// A page that waits for somebody elsewhere asks whether they are done.
const waits = document.querySelector('form[data-waits]');
if (waits) setTimeout(() => waits.requestSubmit(), Number(waits.dataset.waits));
