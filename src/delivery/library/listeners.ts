/** Those of an application that want to hear of events. What they throw is nobody's end: it is logged. */
import { UsageError } from '../../domain/errors.js'
import {
  type EventName,
  type NamedEvent,
  type ReplicationEvents,
  StandingTroubles,
  type Trouble,
} from '../../domain/replication-events.js'
import { nearestName } from '../../kit/nearest-name.js'
import { type News } from '../../usecase/daemon/notice-events.js'
import { type Logger } from './application-logger.js'
import { carefully } from './carefully.js'

/** Is given what has happened. What it returns is not looked at. */
export type Listener<Name extends EventName> = (event: ReplicationEvents[Name]) => unknown

type ListenerSets = { readonly [Name in EventName]: Set<Listener<Name>> }

export class Listeners {
  readonly #logger: Logger
  readonly #sets: ListenerSets = {
    stored: new Set(),
    lag: new Set(),
    recovered: new Set(),
    'new-generation': new Set(),
    'taken-over': new Set(),
    problem: new Set(),
  }
  readonly #ofReplication = new StandingTroubles()
  readonly #ofEngine = new StandingTroubles()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Throws {@link UsageError} for an event that there is not. */
  add<Name extends EventName>(name: Name, listener: Listener<Name>): void {
    if (typeof listener !== 'function') throw new UsageError('a listener must be a function')
    this.#setOf(name).add(listener)
  }

  remove<Name extends EventName>(name: Name, listener: Listener<Name>): void {
    this.#setOf(name).delete(listener)
  }

  /** Whether anybody listens. */
  get some(): boolean {
    return Object.values(this.#sets).some(({ size }) => size > 0)
  }

  /** What the engine has noticed. */
  hear({ happenings, troubles }: News): void {
    for (const each of happenings) this.#tell(each)
    if (troubles !== undefined) this.#become(this.#ofReplication, troubles)
  }

  /** The engine itself fails, or has not done its work at its end, as these say; none: it runs. */
  engineIs(troubles: readonly Trouble[]): void {
    this.#become(this.#ofEngine, troubles)
  }

  #become(standing: StandingTroubles, troubles: readonly Trouble[]): void {
    for (const each of standing.become(troubles, performance.now())) this.#tell(each)
  }

  #tell<Name extends EventName>({ name, event }: NamedEvent<Name>): void {
    for (const listener of [...this.#sets[name]]) {
      carefully(
        () => listener(event),
        (err) => this.#logger.error({ err, event: name }, 'a listener of the application failed'),
      )
    }
  }

  #setOf<Name extends EventName>(name: Name): ListenerSets[Name] {
    if (Object.hasOwn(this.#sets, name)) return this.#sets[name]
    throw unknownEvent(name, Object.keys(this.#sets))
  }
}

function unknownEvent(name: unknown, names: readonly string[]): UsageError {
  const meant = nearestName(String(name), names)
  return new UsageError(`there is no event ${String(name)}`, {
    hint: meant === undefined ? `There are: ${names.join(', ')}.` : `Did you mean ${meant}?`,
  })
}
