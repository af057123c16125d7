<?php
// A guest book: what is posted is kept in SQLite, and listed.
$book = new SQLite3(getenv('GUESTBOOK'));
$book->busyTimeout(1000);
$book->exec('CREATE TABLE IF NOT EXISTS entries (text TEXT NOT NULL)');
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $insert = $book->prepare('INSERT INTO entries VALUES (:text)');
    $insert->bindValue(':text', $_POST['text'] ?? '');
    $insert->execute();
}
$entries = $book->query('SELECT text FROM entries ORDER BY rowid');
?>
<!DOCTYPE html>
<title>guest book</title>
<ul>
<?php while ($entry = $entries->fetchArray(SQLITE3_ASSOC)): ?>
  <li><?= htmlspecialchars($entry['text']) ?></li>
<?php endwhile; ?>
</ul>
