#!/bin/sh
# Makes the certificates of the fake operator again: sh make-certificates.sh
# They guard nothing; their keys are public. Each .pem holds a certificate and its key.
set -eu
cd "$(dirname "$0")"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
for name in ca other-ca; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=cortex test $name" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign -keyout "$t/$name.key" -out "$name.pem"
done
printf 'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' > "$t/leaf"
for pair in operator:ca relay:ca; do
  name=${pair%:*} ca=${pair#*:}
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$t/$name.key" -out "$t/$name.csr"
  openssl x509 -req -in "$t/$name.csr" -CA "$ca.pem" -CAkey "$t/$ca.key" -CAcreateserial -CAserial "$t/$ca.srl" -days 36500 -extfile "$t/leaf" -out "$t/$name.crt"
  cat "$t/$name.crt" "$ca.pem" "$t/$name.key" > "$name.pem"
done
