"""ask.py VERB NAME [MORE] - asks a store over HTTP, by other code than the one that is tested.

  make CONTAINER                 makes a bucket or container
  list CONTAINER [PREFIX]        a line `SIZE NAME` for each object; Swift: in CONTAINER and
                                 all that are called CONTAINER_...
  put CONTAINER/NAME FILE        a whole object
  delete CONTAINER/NAME
  quota CONTAINER BYTES          Swift: no more than so much in it; 0: as much as one likes

S3 where AWS_ENDPOINT_URL is set (signature version 4, path style), otherwise Swift by ST_AUTH.
Needs nothing but Python's standard library.
"""
import datetime
import hashlib
import hmac
import html
import http.client
import json
import os
import re
import sys
import urllib.parse

env = os.environ


def request(method, url, headers, body=b''):
    """Status, headers and body of the answer; one connection for each request."""
    at = urllib.parse.urlsplit(url)
    link = http.client.HTTPConnection(at.hostname, at.port, timeout=20)
    path = at.path + ('?' + at.query if at.query else '')
    link.request(method, path, body, headers)
    answer = link.getresponse()
    return answer.status, answer.headers, answer.read()


def good(status, text, also=()):
    if status // 100 != 2 and status not in also:
        sys.exit('ask: status %d: %s' % (status, text.decode(errors='replace')[:300]))


class S3:
    def __init__(self):
        self.base = env.get('AWS_ENDPOINT_URL_S3') or env['AWS_ENDPOINT_URL']

    def call(self, method, path, query=(), body=b''):
        quote = lambda text: urllib.parse.quote(text, safe='-_.~')
        path = '/' + urllib.parse.quote(path, safe='-_.~/')
        query = '&'.join('%s=%s' % (quote(k), quote(v)) for k, v in sorted(query))
        host = urllib.parse.urlsplit(self.base).netloc
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        digest = hashlib.sha256(body).hexdigest()
        headers = {'host': host, 'x-amz-content-sha256': digest, 'x-amz-date': now}
        names = ';'.join(sorted(headers))
        lines = ''.join('%s:%s\n' % (k, headers[k]) for k in sorted(headers))
        whole = '\n'.join([method, path, query, lines, names, digest])
        scope = '/'.join([now[:8], env.get('AWS_REGION', 'us-east-1'), 's3', 'aws4_request'])
        sign = '\n'.join(['AWS4-HMAC-SHA256', now, scope, hashlib.sha256(whole.encode()).hexdigest()])
        key = ('AWS4' + env['AWS_SECRET_ACCESS_KEY']).encode()
        for part in scope.split('/'):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers['authorization'] = 'AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s' % (
            env['AWS_ACCESS_KEY_ID'], scope, names,
            hmac.new(key, sign.encode(), hashlib.sha256).hexdigest())
        return request(method, self.base + path + ('?' + query if query else ''), headers, body)

    def make(self, bucket):
        status, _, text = self.call('PUT', bucket)
        good(status, text, also=(409,))

    def list(self, bucket, prefix=''):
        after = ''
        while True:
            query = [('list-type', '2'), ('prefix', prefix)]
            status, _, text = self.call('GET', bucket, query + ([('start-after', after)] if after else []))
            good(status, text)
            text = text.decode()
            found = re.findall(r'<Contents>(.*?)</Contents>', text, re.S)
            for one in found:
                after = html.unescape(re.search(r'<Key>(.*?)</Key>', one, re.S).group(1))
                print(re.search(r'<Size>(\d+)</Size>', one).group(1), after)
            if '<IsTruncated>true</IsTruncated>' not in text:
                return

    def put(self, name, body):
        status, _, text = self.call('PUT', name, body=body)
        good(status, text)

    def delete(self, name):
        status, _, text = self.call('DELETE', name)
        good(status, text, also=(404,))


class Swift:
    def __init__(self):
        who = {'X-Auth-User': env['ST_USER'], 'X-Auth-Key': env['ST_KEY']}
        status, headers, text = request('GET', env['ST_AUTH'], who)
        good(status, text)
        self.base, self.token = headers['X-Storage-Url'], headers['X-Auth-Token']

    def call(self, method, path, headers=None, body=b'', query=''):
        url = '%s/%s%s' % (self.base, urllib.parse.quote(path), query)
        return request(method, url, {'X-Auth-Token': self.token, **(headers or {})}, body)

    def make(self, container):
        status, _, text = self.call('PUT', container)
        good(status, text)

    def names(self, path, prefix):
        """Pairs of size and name, of objects or (path '') of containers."""
        marker = ''
        while True:
            query = {'format': 'json', 'prefix': prefix, 'marker': marker, 'limit': 1000}
            status, _, text = self.call('GET', path, query='?' + urllib.parse.urlencode(query))
            good(status, text)
            found = json.loads(text or b'[]')
            if not found:
                return
            for one in found:
                marker = one['name']
                yield one['bytes'], marker

    def list(self, container, prefix=''):
        # A volume spreads over containers whose names begin with the one that was named.
        for _, name in list(self.names('', container)):
            if name == container or name.startswith(container + '_'):
                for size, one in self.names(name, prefix):
                    print(size, one)

    def put(self, name, body):
        status, _, text = self.call('PUT', name, body=body)
        good(status, text)

    def delete(self, name):
        status, _, text = self.call('DELETE', name)
        good(status, text, also=(404,))

    def quota(self, container, bytes_):
        value = '' if bytes_ == '0' else bytes_
        status, _, text = self.call('POST', container, {'X-Container-Meta-Quota-Bytes': value})
        good(status, text)


store = S3() if 'AWS_ENDPOINT_URL' in env or 'AWS_ENDPOINT_URL_S3' in env else Swift()
verb, rest = sys.argv[1], sys.argv[2:]
if verb == 'put':
    rest[1] = open(rest[1], 'rb').read()
getattr(store, verb)(*rest)
