// mqtt.js logs in by SCRAM over plain TCP: the client's side of RFC 5802 in its handleAuth.
// usage: node scram.mjs PORT USERNAME PASSWORD METHOD; exit 0 and "ok" when the broker proved itself and took a message.
import crypto from 'node:crypto'
import mqtt from 'mqtt'

const [port, username, password, method] = process.argv.slice(2)
const hash = method === 'SCRAM-SHA-512' ? 'sha512' : 'sha256'
const hmac = (key, text) => crypto.createHmac(hash, key).update(text).digest()

const nonce = crypto.randomBytes(18).toString('base64url')
const firstBare = `n=${username},r=${nonce}`
let serverSignature = null

function prove(serverFirst) {
  const { r, s, i } = Object.fromEntries(serverFirst.split(',').map((part) => [part[0], part.slice(2)]))
  if (!r.startsWith(nonce)) throw new Error('this answer is for somebody else')
  const length = crypto.createHash(hash).digest().length
  const salted = crypto.pbkdf2Sync(password, Buffer.from(s, 'base64'), Number(i), length, hash)
  const clientKey = hmac(salted, 'Client Key')
  const storedKey = crypto.createHash(hash).update(clientKey).digest()
  const message = `${firstBare},${serverFirst},c=biws,r=${r}`
  const signature = hmac(storedKey, message)
  serverSignature = hmac(hmac(salted, 'Server Key'), message).toString('base64')
  return `c=biws,r=${r},p=${clientKey.map((byte, at) => byte ^ signature[at]).toString('base64')}`
}

const data = (text) => ({ authenticationMethod: method, authenticationData: Buffer.from(text) })
const client = mqtt.connect(`mqtt://localhost:${port}`, {
  clientId: username, protocolVersion: 5, reconnectPeriod: 0, properties: data(`n,,${firstBare}`)
})
client.handleAuth = (packet, done) => {
  const proof = prove(packet.properties.authenticationData.toString())
  done(undefined, { cmd: 'auth', reasonCode: 0x18, properties: data(proof) })
}
client.on('error', (error) => {
  console.error(error.message)
  process.exit(1)
})
client.on('connect', async (connack) => {
  if (connack.properties.authenticationData.toString() !== `v=${serverSignature}`) {
    throw new Error('the broker does not know the password')
  }
  await client.publishAsync(`js/${username}`, 'proved', { qos: 1 })
  await client.endAsync()
  console.log('ok')
})
