// An Aedes broker for the benchmark: one account, topic rules by client id, a plain and a TLS port.
// Arguments: PORT TLS_PORT CERTIFICATE KEY USERNAME PASSWORD
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createServer as createSecureServer } from 'node:tls'
import { Aedes } from 'aedes'

const [port, tlsPort, certificate, key, username, password] = process.argv.slice(2)
const broker = await Aedes.createBroker()
const readable = ['bench/', 'churn/']

broker.authenticate = (client, name, secret, done) => {
  done(null, name === username && secret?.toString() === password)
}
broker.authorizePublish = (client, packet, done) => {
  done(packet.topic.startsWith(`bench/${client.id}/`) ? null : new Error('not allowed'))
}
broker.authorizeSubscribe = (client, subscription, done) => {
  done(null, readable.some((prefix) => subscription.topic.startsWith(prefix)) ? subscription : null)
}

const options = { cert: readFileSync(certificate), key: readFileSync(key), minVersion: 'TLSv1.3' }
createServer(broker.handle).listen(Number(port), '127.0.0.1')
createSecureServer(options, broker.handle).listen(Number(tlsPort), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
