/** The last line of `npm test`: what it leaves to the suites that need more than npm installs. */
export default function setup(): () => void {
  return () => {
    process.stdout.write(
      'stores not reached by this run: minio, ceph, azurite, fake-gcs (npm run test:stores reaches them)\n',
    )
  }
}
