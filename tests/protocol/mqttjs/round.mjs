// One round of an ordinary mqtt.js client: publish, subscribe, retained, will, persistent session.
// usage: node round.mjs PORT CA_FILE USERNAME PASSWORD VERSION [SCHEME]; SCHEME: mqtts, ws or wss; exit 0 and "ok" when all held.
import fs from 'node:fs'
import mqtt from 'mqtt'

const [port, caFile, username, password, version, scheme = 'mqtts'] = process.argv.slice(2)
const protocolVersion = Number(version)
const STEP_MS_MAX = 10_000

function options(clientId, more = {}) {
  return {
    clientId, username, password, protocolVersion, ca: fs.readFileSync(caFile), reconnectPeriod: 0, ...more
  }
}

const open = (clientId, more) => mqtt.connectAsync(`${scheme}://localhost:${port}`, options(clientId, more))

// The next message of this client, as [topic, payload, retain].
function next(client) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no message came')), STEP_MS_MAX)
    client.once('message', (topic, payload, packet) => {
      clearTimeout(timer)
      resolve([topic, payload.toString(), packet.retain])
    })
  })
}

function equal(found, expected, step) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${step}: ${JSON.stringify(found)} is not ${JSON.stringify(expected)}`)
  }
}

async function publishSubscribe() {
  const client = await open(`${username}-a`)
  for (const qos of [0, 1, 2]) {
    await client.subscribeAsync(`js/${qos}`, { qos })
    const message = next(client)
    await client.publishAsync(`js/${qos}`, `at ${qos}`, { qos })
    equal(await message, [`js/${qos}`, `at ${qos}`, false], `QoS ${qos}`)
  }
  await client.endAsync()
}

async function retained() {
  const client = await open(`${username}-a`)
  await client.publishAsync('js/kept', 'kept', { qos: 1, retain: true })
  const message = next(client)
  await client.subscribeAsync('js/kept')
  equal(await message, ['js/kept', 'kept', true], 'retained')
  await client.publishAsync('js/kept', '', { qos: 1, retain: true })
  await client.endAsync()
}

async function will() {
  const witness = await open(`${username}-a`)
  await witness.subscribeAsync('js/will', { qos: 1 })
  const message = next(witness)
  const dying = await open(`${username}-b`, { will: { topic: 'js/will', payload: 'gone', qos: 1, retain: false } })
  dying.stream.destroy()
  equal(await message, ['js/will', 'gone', false], 'will')
  await witness.endAsync()
}

async function persistentSession() {
  const properties = protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined
  const keep = { clean: false, properties }
  const first = await open(`${username}-c`, keep)
  await first.subscribeAsync('js/kept-for', { qos: 1 })
  await first.endAsync()
  const publisher = await open(`${username}-a`)
  await publisher.publishAsync('js/kept-for', 'while away', { qos: 1 })
  await publisher.endAsync()
  const second = mqtt.connect(`${scheme}://localhost:${port}`, options(`${username}-c`, keep))
  equal(await next(second), ['js/kept-for', 'while away', false], 'persistent session')
  await second.endAsync()
}

for (const step of [publishSubscribe, retained, will, persistentSession]) await step()
console.log('ok')
