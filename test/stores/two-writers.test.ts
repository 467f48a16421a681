/** Two daemons on one replica, as if on two machines, on each real store. */
import { afterEach, describe, inject, test } from 'vitest'
import { cleanUp } from '../support/cli.js'
import { placesOf } from '../support/stores/places.js'
import { testTwoWriters } from '../support/two-writers.js'

afterEach(cleanUp)

for (const [name, place] of Object.entries(placesOf(inject('stores')))) {
  if ('unavailable' in place) {
    test.skip(`${name} is not reached: ${place.unavailable}`, () => undefined)
  } else {
    describe(name, () => testTwoWriters(place))
  }
}
