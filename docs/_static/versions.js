/* Fills the choice of versions with what ../versions.js lists, newest first. A page that another
   version does not have leads to its first page. Nothing is fetched, so that it works from a disk. */
{
  const select = document.getElementById("versions");
  const versions = window.trio_mqtt_versions ?? [];
  for (const { version, note, pages } of versions) {
    const page = pages.includes(select.dataset.page) ? select.dataset.page : "index.html";
    const text = note ? `${version} (${note})` : version;
    const here = version === select.dataset.version;
    select.add(new Option(text, `${select.dataset.root}../${version}/${page}`, here, here));
  }
  select.addEventListener("change", () => { window.location.href = select.value; });
  select.parentElement.hidden = versions.length === 0;
}
