/** Takes a page of a listing apart. */
import { type ListedObject, type ListedPage } from '../object-store/listed-folder.js'
import { field } from '../object-store/refused-request.js'
import { parseJson } from './gcs-errors.js'

export interface ListingPage extends ListedPage {
  readonly nextPageToken: string | undefined
}

/** Throws where the text is no page, or one that broke off. */
export function parseListing(text: string): ListingPage {
  const page = parseJson(text)
  if (typeof page !== 'object' || page === null) throw unreadable('it is not JSON')
  const token = field(page, 'nextPageToken')
  return {
    objects: listOf(page, 'items').map(parseObject),
    folders: listOf(page, 'prefixes').filter((name) => typeof name === 'string'),
    nextPageToken: typeof token === 'string' && token !== '' ? token : undefined,
  }
}

function listOf(page: object, name: string): readonly unknown[] {
  const list = field(page, name) ?? []
  if (!Array.isArray(list)) throw unreadable(`${name} is not a list`)
  return list
}

function parseObject(item: unknown): ListedObject {
  const name = field(item, 'name')
  const size = field(item, 'size')
  const createdAt = field(item, 'timeCreated')
  const createdAtMs = typeof createdAt === 'string' ? Date.parse(createdAt) : Number.NaN
  if (typeof name !== 'string' || typeof size !== 'string' || Number.isNaN(createdAtMs)) {
    throw unreadable('an entry lacks its name, size or time')
  }
  return { name, sizeBytes: Number(size), createdAtMs }
}

/** Damaged on the way: the next time it may be whole. */
function unreadable(reason: string): Error {
  return Object.assign(new Error(`the listing cannot be read: ${reason}`), { code: 'EANSWER' })
}
