/** Keys as an age recipients or identities file has them: one a line, with comments and empty lines between. */
import { Encrypter, identityToRecipient } from 'age-encryption'
import { ConfigError } from '../../../domain/errors.js'
import { type Secret } from '../../../domain/settings/secret.js'

/** The public keys in texts of `age.recipients`. */
export async function parseRecipients(texts: readonly string[]): Promise<string[]> {
  const recipients: string[] = []
  for (const text of texts) {
    for (const { line, number } of keyLines(text)) {
      if (!/^age1[02-9ac-hj-np-z]{58}$/.test(line) || !(await isRecipient(line))) {
        throw new ConfigError(`malformed recipient at line ${number}`, {
          hint: 'a recipient in age.recipients is a public key as age-keygen prints it: age1…',
        })
      }
      recipients.push(line)
    }
  }
  return recipients
}

/** The secret keys in texts of `age.identities`. */
export async function parseIdentities(texts: readonly Secret[]): Promise<string[]> {
  const identities: string[] = []
  for (const text of texts) {
    for (const { line, number } of keyLines(text.reveal())) {
      try {
        if (!line.startsWith('AGE-SECRET-KEY-1')) throw new Error('unknown type')
        await identityToRecipient(line)
      } catch {
        // Neither the key nor what the library says of it is shown.
        throw new ConfigError(`error at line ${number}: malformed secret key`, {
          hint: 'an identity in age.identities is a secret key as age-keygen writes it: AGE-SECRET-KEY-1…',
        })
      }
      identities.push(line)
    }
  }
  return identities
}

function keyLines(text: string): { line: string; number: number }[] {
  return text
    .split(/\r?\n/)
    .map((line, i) => ({ line: line.trim(), number: i + 1 }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'))
}

async function isRecipient(recipient: string): Promise<boolean> {
  try {
    const encrypter = new Encrypter()
    encrypter.addRecipient(recipient)
    await encrypter.encrypt(new Uint8Array(0))
    return true
  } catch {
    return false
  }
}
