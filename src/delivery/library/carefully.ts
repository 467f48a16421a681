/** Calls what is the application's: what that throws, or rejects with, goes no further than to `failed`. */
export function carefully(call: () => unknown, failed: (reason: unknown) => void): void {
  try {
    void Promise.resolve(call()).catch(failed)
  } catch (reason) {
    failed(reason)
  }
}
