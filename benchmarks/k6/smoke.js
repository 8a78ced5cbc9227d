// Publishes, subscribes and fetches through the proxy at a low, fixed rate, and checks what comes back.
//
//   make k6                             against a BrokerCluster of its own on this machine
//   K6_TARGET=host:port make k6         against one that runs
//
// It tells whether the whole works and how long it takes, not how much it can bear: k6 needs as much CPU for a call as
// the broker does (`make bench` measures that). A missed threshold ends it with exit code 99.
import { check } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { Trend } from 'k6/metrics';

const TARGET = __ENV.K6_TARGET || '127.0.0.1:50051';
const DURATION = __ENV.SMOKE_DURATION || '15s';
// Every run, and every virtual user in it, has subjects of its own: the first message of each has id 1.
const RUN = `${Date.now()}`;
const MESSAGES = 10; // that a subscriber waits for
const GIVE_UP_MS = 10000;

const atRate = (exec, rate) => ({
  executor: 'constant-arrival-rate',
  exec,
  rate,
  timeUnit: '1s',
  duration: DURATION,
  preAllocatedVUs: 5,
  maxVUs: 50,
});

export const options = {
  scenarios: {
    publish: atRate('publish', 20),
    fetch: atRate('fetch', 10),
    refused: atRate('refused', 1),
    subscribe: atRate('subscribe', 1),
  },
  thresholds: {
    'checks{scenario:publish}': ['rate==1'],
    'checks{scenario:fetch}': ['rate==1'],
    'checks{scenario:refused}': ['rate==1'],
    'checks{scenario:subscribe}': ['rate==1'],
    // grpc_req_duration counts a stream as one long request, so each scenario has a threshold of its own.
    'grpc_req_duration{scenario:publish}': ['p(95)<250'],
    'grpc_req_duration{scenario:fetch}': ['p(95)<250'],
    'delivery_duration{scenario:subscribe}': ['p(95)<500'],
    // A scenario that did nothing has no failed checks either.
    'iterations{scenario:publish}': ['count>0'],
    'iterations{scenario:fetch}': ['count>0'],
    'iterations{scenario:refused}': ['count>0'],
    'iterations{scenario:subscribe}': ['count>0'],
  },
  summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max'],
};

const delivery = new Trend('delivery_duration', true);
const client = new grpc.Client();
client.loadProtoset('../../broker/api/broker.pb');
let connected = false;
let lastId = 0;

function call(method, request) {
  connect();
  return client.invoke(`broker.Broker/${method}`, request, { timeout: '10s' });
}

function connect() {
  if (!connected) {
    client.connect(TARGET, { plaintext: true, timeout: '10s' });
    connected = true;
  }
}

const encode = (text) => encoding.b64encode(text);
const decode = (body) => encoding.b64decode(body, 'std', 's');

export function setup() {
  client.connect(TARGET, { plaintext: true, timeout: '10s' });
  const subject = `k6.${RUN}.fetch`;
  const response = client.invoke('broker.Broker/Publish', { subject, body: encode('to fetch'), expirationSeconds: 600 });
  client.close();
  if (response.status !== grpc.StatusOK) {
    throw new Error(`the first publish to ${TARGET} failed: ${JSON.stringify(response.error)}`);
  }
  return { subject, id: response.message.id };
}

// Each virtual user has a subject, so its ids are 1, 2, 3, …
export function publish() {
  const response = call('Publish', {
    subject: `k6.${RUN}.publish.${exec.vu.idInTest}`,
    body: encode('hello'),
    expirationSeconds: 600,
  });
  check(response, {
    'publish is acknowledged': (r) => r.status === grpc.StatusOK,
    'ids are dense': (r) => r.message && Number(r.message.id) === lastId + 1,
  });
  lastId = Number(response.message && response.message.id);
}

export function fetch(published) {
  const response = call('Fetch', { subject: published.subject, id: published.id });
  check(response, {
    'fetch finds the message': (r) => r.status === grpc.StatusOK,
    'its body is what was published': (r) => r.message && decode(r.message.body) === 'to fetch',
    'its id is what the publisher got': (r) => r.message && r.message.id === published.id,
  });
}

export function refused() {
  const response = call('Publish', { subject: '', body: encode('x'), expirationSeconds: 600 });
  check(response, { 'a publish without a subject is INVALID_ARGUMENT': (r) => r.status === grpc.StatusInvalidArgument });
}

// Subscribes to a new subject, publishes to it, and waits for all of it, in order.
export function subscribe() {
  connect();
  const subject = `k6.${RUN}.subscribe.${exec.scenario.iterationInTest}`;
  const received = [];
  const stream = new grpc.Stream(client, 'broker.Broker/Subscribe');
  let done = false;

  const finish = () => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    check(received, {
      'every message is delivered once': (all) => all.length === MESSAGES,
      'messages come in the order of their ids': (all) => all.every((one, index) => one.id === index + 1),
      'bodies are those published': (all) => all.every((one, index) => one.number === index),
    });
    // The only way to end a subscription from here; the stream reports it as an error, which is expected.
    client.close();
    connected = false;
  };
  const timer = setTimeout(finish, GIVE_UP_MS);

  stream.on('data', (message) => {
    const [number, sent] = decode(message.body).split(' ').map(Number);
    delivery.add(Date.now() - sent);
    received.push({ id: Number(message.id), number });
    if (received.length === MESSAGES) finish();
  });
  stream.on('error', finish);
  stream.on('end', finish);
  // From the first message on, so it does not matter which call the broker sees first.
  stream.write({ subject, earliest: true });
  stream.end();

  (async () => {
    for (let number = 0; number < MESSAGES; number += 1) {
      const body = encode(`${number} ${Date.now()}`);
      await client.asyncInvoke('broker.Broker/Publish', { subject, body, expirationSeconds: 600 });
    }
  })();
}
