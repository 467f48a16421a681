/** A small application for bundlers: it replicates a database, restores it, and prints what was not stored, or why it failed. */
export const bundledApplication = `
import { replicate, restore } from 'tsreplicate'
async function main([db, url, to]) {
  const replication = await replicate(db, url)
  console.log(await replication.stop())
  await restore(url, { to })
}
main(process.argv.slice(2)).catch(({ code, message, hint }) => {
  console.log(JSON.stringify({ code, message, hint }))
})
`
