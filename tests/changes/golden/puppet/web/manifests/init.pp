# @summary what was done in a sandbox
class web {
  Package {
    notify => [
      Service['d'],
    ],
  }

  File {
    notify => [
      Service['d'],
    ],
  }

  package { 'gone':
    ensure => absent,
  }

  package { 'hello':
    ensure => '1',
  }

  file { '/old':
    ensure => absent,
  }

  file { '/olddir':
    ensure => absent,
    force  => true,
  }

  file { '/srv/it/0/r{{ lookup(\'pipe\',\'id\') }}':
    ensure => absent,
  }

  # lint:ignore:double_quoted_strings
  file { "/srv/it/1/ra\u{a}b: c":
    ensure => absent,
  }
  # lint:endignore

  file { '/etc/passwd':
    ensure => file,
    source => 'puppet:///modules/web/8e1993f23ec7fe352f3c1d853319e1636cb7cce8bcbd9362bc61551d9916149e',
    owner  => 'root',
    group  => 'root',
    mode   => '0644',
  }

  file { '/srv/it/0':
    ensure => directory,
    owner  => 'root',
    group  => 'root',
    mode   => '0755',
  }

  file { '/srv/it/0/d{{ lookup(\'pipe\',\'id\') }}':
    ensure => directory,
    owner  => 'root',
    group  => 'root',
    mode   => '0755',
  }

  file { '/srv/it/1':
    ensure => directory,
    owner  => 'root',
    group  => 'root',
    mode   => '0755',
  }

  # lint:ignore:double_quoted_strings
  file { "/srv/it/1/da\u{a}b: c":
    ensure => directory,
    owner  => 'root',
    group  => 'root',
    mode   => '0755',
  }
  # lint:endignore

  file { '/etc/web.conf':
    ensure => file,
    source => 'puppet:///modules/web/8e1993f23ec7fe352f3c1d853319e1636cb7cce8bcbd9362bc61551d9916149e',
    owner  => 'root',
    group  => 'root',
    mode   => '0640',
  }

  file { '/srv/it/0/{{ lookup(\'pipe\',\'id\') }}':
    ensure => file,
    source => 'puppet:///modules/web/8e1993f23ec7fe352f3c1d853319e1636cb7cce8bcbd9362bc61551d9916149e',
    owner  => 'root',
    group  => 'root',
    mode   => '0644',
  }

  # lint:ignore:double_quoted_strings
  file { "/srv/it/1/a\u{a}b: c":
    ensure => file,
    source => 'puppet:///modules/web/8e1993f23ec7fe352f3c1d853319e1636cb7cce8bcbd9362bc61551d9916149e',
    owner  => 'root',
    group  => 'root',
    mode   => '0644',
  }
  # lint:endignore

  file { '/t':
    ensure => file,
    owner  => 'root',
    group  => 'root',
    mode   => '0600',
  }

  file { '/srv/it/0/l{{ lookup(\'pipe\',\'id\') }}':
    ensure => link,
    target => '{{ lookup(\'pipe\',\'id\') }}',
    owner  => 'root',
    group  => 'root',
  }

  # lint:ignore:double_quoted_strings
  file { "/srv/it/1/la\u{a}b: c":
    ensure => link,
    target => "a\u{a}b: c",
    owner  => 'root',
    group  => 'root',
  }
  # lint:endignore

  file { '/was':
    ensure => link,
    target => '/x',
    force  => true,
    owner  => 'root',
    group  => 'root',
  }

  service { 'a':
    enable => true,
  }

  service { 'b':
    ensure => stopped,
  }

  service { 'c.timer':
    ensure   => running,
    enable   => true,
    provider => systemd,
  }

  service { 'd':
    ensure => running,
    enable => true,
  }

  service { 'networking':
    ensure => running,
    enable => true,
  }
}
