#!/bin/sh
# make-certificates.sh FOLDER: the sample with a CA to try it out. Writes the YAML files of this folder, a ConfigMap with
# the new CA's certificate, and below FOLDER/keys the keys and certificates of the CA, pump-1 and pump-2.
# For real devices use the CA you have: then the ConfigMap is all you need.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
[ ! -e "$1/keys" ] || { echo "$1/keys exists already; choose a new folder." >&2; exit 1; }
command -v openssl >/dev/null || { echo "openssl is missing; install it first." >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
umask 077
mkdir -p "$1/keys"
cp "$here"/*.yaml "$1"
cd "$1/keys"

cat >openssl.conf <<'CONF'
[req]
distinguished_name = name
prompt = no
[name]
CN = replaced
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[device]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONF

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

key device-ca
openssl req -config openssl.conf -new -x509 -sha256 -days 365 -extensions ca \
    -subj "/CN=device-ca" -key device-ca.key -out device-ca.crt

for device in pump-1 pump-2; do
    key "$device"
    openssl req -config openssl.conf -new -sha256 -subj "/CN=$device" -key "$device.key" -out "$device.csr"
    openssl x509 -req -sha256 -days 90 -extfile openssl.conf -extensions device -in "$device.csr" \
        -CA device-ca.crt -CAkey device-ca.key -CAcreateserial -out "$device.crt" 2>/dev/null
    rm "$device.csr"
done
rm openssl.conf

{
    printf '%s\n' "apiVersion: v1" "kind: ConfigMap" "metadata:" "  name: device-ca" "  namespace: mqtt" "data:" \
        "  ca.crt: |"
    sed 's/^/    /' device-ca.crt
} >../device-ca.yaml

echo "written: $1 (keys and certificates of the CA, pump-1 and pump-2 in $1/keys)"
echo "next:    ./hack/run $1"
