import { createHash, createHmac } from 'node:crypto'
import { type S3Store } from './server.ts'

/** What a policy of S3 says, in the form of Amazon's. */
export interface Policy {
  readonly Version: string
  readonly Statement: readonly object[]
}

/** Temporary credentials of a MinIO that may do no more than a policy says, or these actions on everything. */
export async function startMinioSession(
  store: Omit<S3Store, 'stop'>,
  allowed: readonly string[] | Policy,
): Promise<{ accessKeyId: string; secretAccessKey: string; sessionToken: string }> {
  const policy: Policy =
    'Version' in allowed
      ? allowed
      : {
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: allowed, Resource: ['arn:aws:s3:::*'] }],
        }
  const body = new URLSearchParams({
    Action: 'AssumeRole',
    Version: '2011-06-15',
    DurationSeconds: '900',
    Policy: JSON.stringify(policy),
  }).toString()
  const response = await fetch(`${store.endpoint}/`, {
    method: 'POST',
    headers: signedHeaders(store, body),
    body,
  })
  const answer = await response.text()
  const value = (name: string): string => {
    const found = new RegExp(`<${name}>([^<]+)</${name}>`).exec(answer)?.[1]
    if (found === undefined) throw new Error(`no session from MinIO: ${answer}`)
    return found
  }
  return {
    accessKeyId: value('AccessKeyId'),
    secretAccessKey: value('SecretAccessKey'),
    sessionToken: value('SessionToken'),
  }
}

/** Signature version 4 for the service that gives out sessions, which none of our packages speaks to. */
function signedHeaders(store: Omit<S3Store, 'stop'>, body: string): Record<string, string> {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
  const hmac = (key: Buffer | string, text: string): Buffer =>
    createHmac('sha256', key).update(text).digest()
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const scope = [time.slice(0, 8), store.region, 'sts', 'aws4_request']
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    host: new URL(store.endpoint).host,
    'x-amz-date': time,
  }
  const names = Object.keys(headers).join(';')
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`)
  const canonical = ['POST', '/', '', ...lines, '', names, hash(body)].join('\n')
  const key = scope.reduce<Buffer | string>(hmac, `AWS4${store.secretAccessKey}`)
  const toSign = ['AWS4-HMAC-SHA256', time, scope.join('/'), hash(canonical)].join('\n')
  const signature = hmac(Buffer.from(key), toSign).toString('hex')
  const credential = `${store.accessKeyId}/${scope.join('/')}`
  return {
    'content-type': headers['content-type'],
    'x-amz-date': time,
    authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`,
  }
}
